-- The routes file. Running this twice does no harm; a table made by the Go original stays as it is.
-- Only SQL that the shell of SQLite 3.40 can parse when it reads the file: no STRICT, no computed RAISE text, no RETURNING.

CREATE TABLE IF NOT EXISTS routes (
    service_name TEXT PRIMARY KEY NOT NULL,
    strategy     TEXT NOT NULL,
    endpoint     TEXT,
    config       TEXT DEFAULT '{}',
    updated_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
);
CREATE INDEX IF NOT EXISTS idx_routes_strategy ON routes(strategy);
CREATE TRIGGER IF NOT EXISTS trg_routes_updated_at AFTER UPDATE OF service_name, strategy, endpoint, config ON routes
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE routes SET updated_at = strftime('%s', 'now') WHERE service_name = NEW.service_name;
END;

-- The words that routes.strategy may hold; a router adds those of its own transports.
CREATE TABLE IF NOT EXISTS strategies (
    name TEXT PRIMARY KEY NOT NULL CHECK (name GLOB '[a-z]*' AND name NOT GLOB '*[^a-z0-9_-]*' AND length(name) <= 64)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;

-- Every change of a row. Columns without a type keep whatever stood in the row, blobs too.
CREATE TABLE IF NOT EXISTS route_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,         -- the generation this change made; never used twice
    at_ms INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    op TEXT NOT NULL,                             -- insert, update, replace, delete
    service_name, old_strategy, old_endpoint, old_config, new_strategy, new_endpoint, new_config,
    mark BLOB NOT NULL DEFAULT (randomblob(8))    -- tells this change from another history's change with the same id
);

-- At most one row: what an INSERT may replace, because REPLACE fires no DELETE trigger.
CREATE TABLE IF NOT EXISTS route_pending (service_name, strategy, endpoint, config);

INSERT OR IGNORE INTO meta(key, value)
VALUES ('schema', 2), ('generation', 0), ('history_keep', 10000), ('file_id', lower(hex(randomblob(16))));

-- A typo fails here. Checks look at changed columns only, so that an old odd row can still be moved or deleted.

CREATE TRIGGER IF NOT EXISTS cn_routes_check_insert BEFORE INSERT ON routes BEGIN
    SELECT RAISE(ABORT, 'routes.service_name: a name begins with a letter or digit, goes on with letters, digits, _ . : - and does not end in a dot or hold two dots in a row (at most 256)')
     WHERE (typeof(NEW.service_name) <> 'text' OR length(CAST(NEW.service_name AS BLOB)) NOT BETWEEN 1 AND 256
            OR length(CAST(NEW.service_name AS BLOB)) <> length(NEW.service_name)       -- a NUL byte, or not ASCII
            OR NEW.service_name NOT GLOB '[A-Za-z0-9]*' OR NEW.service_name GLOB '*[^A-Za-z0-9_.:-]*'
            OR NEW.service_name GLOB '*.' OR NEW.service_name GLOB '*..*')
       AND NOT EXISTS (SELECT 1 FROM routes WHERE service_name = NEW.service_name);     -- an old Go row may be upserted
    SELECT RAISE(ABORT, 'routes.strategy: unknown strategy. The words allowed here: SELECT name FROM strategies;')
     WHERE NOT EXISTS (SELECT 1 FROM strategies WHERE name = NEW.strategy);
    SELECT RAISE(ABORT, 'routes.config: must be a JSON object such as {"timeout_ms":500}, or NULL')
     WHERE NEW.config IS NOT NULL AND CASE WHEN typeof(NEW.config) <> 'text' OR NOT json_valid(NEW.config)
           OR instr(NEW.config, char(0)) THEN 1 ELSE json_type(NEW.config) NOT IN ('object', 'null') END;
    DELETE FROM route_pending;
    INSERT INTO route_pending SELECT service_name, strategy, endpoint, config FROM routes WHERE service_name = NEW.service_name;
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_check_name BEFORE UPDATE OF service_name ON routes
WHEN NEW.service_name IS NOT OLD.service_name BEGIN
    SELECT RAISE(ABORT, 'routes.service_name: a name begins with a letter or digit, goes on with letters, digits, _ . : - and does not end in a dot or hold two dots in a row (at most 256)')
     WHERE typeof(NEW.service_name) <> 'text' OR length(CAST(NEW.service_name AS BLOB)) NOT BETWEEN 1 AND 256
        OR length(CAST(NEW.service_name AS BLOB)) <> length(NEW.service_name)
        OR NEW.service_name NOT GLOB '[A-Za-z0-9]*' OR NEW.service_name GLOB '*[^A-Za-z0-9_.:-]*'
        OR NEW.service_name GLOB '*.' OR NEW.service_name GLOB '*..*';
    SELECT RAISE(ABORT, 'routes.service_name: another route has this name already; delete it first')
     WHERE EXISTS (SELECT 1 FROM routes WHERE service_name = NEW.service_name);         -- also stops UPDATE OR REPLACE
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_check_strategy BEFORE UPDATE OF strategy ON routes
WHEN NEW.strategy IS NOT OLD.strategy AND NOT EXISTS (SELECT 1 FROM strategies WHERE name = NEW.strategy) BEGIN
    SELECT RAISE(ABORT, 'routes.strategy: unknown strategy. The words allowed here: SELECT name FROM strategies;');
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_check_config BEFORE UPDATE OF config ON routes
WHEN NEW.config IS NOT OLD.config AND NEW.config IS NOT NULL
 AND CASE WHEN typeof(NEW.config) <> 'text' OR NOT json_valid(NEW.config) OR instr(NEW.config, char(0))
     THEN 1 ELSE json_type(NEW.config) NOT IN ('object', 'null') END BEGIN
    SELECT RAISE(ABORT, 'routes.config: must be a JSON object such as {"timeout_ms":500}, or NULL');
END;

CREATE TRIGGER IF NOT EXISTS cn_strategies_in_use BEFORE DELETE ON strategies
WHEN EXISTS (SELECT 1 FROM routes WHERE strategy = OLD.name) BEGIN
    SELECT RAISE(ABORT, 'strategies: routes still use this strategy; move them first');
END;

CREATE TRIGGER IF NOT EXISTS cn_strategies_renamed BEFORE UPDATE OF name ON strategies
WHEN NEW.name IS NOT OLD.name AND EXISTS (SELECT 1 FROM routes WHERE strategy = OLD.name) BEGIN
    SELECT RAISE(ABORT, 'strategies: routes still use this strategy; move them first');
END;

-- What changed. Only a real change of a row makes a new generation.

CREATE TRIGGER IF NOT EXISTS cn_routes_inserted AFTER INSERT ON routes
WHEN NOT EXISTS (SELECT 1 FROM route_pending p WHERE p.service_name IS NEW.service_name AND p.strategy IS NEW.strategy
                 AND p.endpoint IS NEW.endpoint AND p.config IS NEW.config) BEGIN
    INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config, new_strategy, new_endpoint, new_config)
    SELECT CASE WHEN p.service_name IS NULL THEN 'insert' ELSE 'replace' END, NEW.service_name,
           p.strategy, p.endpoint, p.config, NEW.strategy, NEW.endpoint, NEW.config
      FROM (SELECT 1) LEFT JOIN route_pending p ON p.service_name IS NEW.service_name;
    DELETE FROM route_pending;
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_updated AFTER UPDATE OF strategy, endpoint, config ON routes
WHEN NEW.service_name IS OLD.service_name
 AND (NEW.strategy IS NOT OLD.strategy OR NEW.endpoint IS NOT OLD.endpoint OR NEW.config IS NOT OLD.config) BEGIN
    DELETE FROM route_pending;
    INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config, new_strategy, new_endpoint, new_config)
    VALUES ('update', NEW.service_name, OLD.strategy, OLD.endpoint, OLD.config, NEW.strategy, NEW.endpoint, NEW.config);
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_renamed AFTER UPDATE OF service_name ON routes
WHEN NEW.service_name IS NOT OLD.service_name BEGIN
    INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config)
    VALUES ('delete', OLD.service_name, OLD.strategy, OLD.endpoint, OLD.config);
    INSERT INTO route_history(op, service_name, new_strategy, new_endpoint, new_config)
    VALUES ('insert', NEW.service_name, NEW.strategy, NEW.endpoint, NEW.config);
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_deleted AFTER DELETE ON routes BEGIN
    DELETE FROM route_pending;
    INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config)
    VALUES ('delete', OLD.service_name, OLD.strategy, OLD.endpoint, OLD.config);
END;

CREATE TRIGGER IF NOT EXISTS cn_generation AFTER INSERT ON route_history BEGIN
    UPDATE meta SET value = NEW.id WHERE key = 'generation';
END;

-- Every hundredth change, because pruning at each one doubles the cost of a commit.
CREATE TRIGGER IF NOT EXISTS cn_history_keep AFTER INSERT ON route_history WHEN NEW.id % 100 = 0 BEGIN
    DELETE FROM route_history WHERE id <= NEW.id - (SELECT value FROM meta WHERE key = 'history_keep');
END;

-- For people.

CREATE VIEW IF NOT EXISTS history AS
SELECT id AS generation, strftime('%Y-%m-%d %H:%M:%S', at_ms / 1000, 'unixepoch') AS at_utc, op, service_name,
       old_strategy, old_endpoint, old_config, new_strategy, new_endpoint, new_config
  FROM route_history ORDER BY id DESC;

-- INSERT INTO set_route refuses a name that is not there, where an UPDATE would change 0 rows in silence. What is not
-- stated stays; an empty endpoint takes it away.
CREATE VIEW IF NOT EXISTS set_route AS SELECT service_name, strategy, endpoint, config FROM routes;
CREATE TRIGGER IF NOT EXISTS cn_set_route INSTEAD OF INSERT ON set_route BEGIN
    SELECT RAISE(ABORT, 'set_route: no route of this name. The names there are: SELECT service_name FROM routes;')
     WHERE NOT EXISTS (SELECT 1 FROM routes WHERE service_name = NEW.service_name);
    UPDATE routes SET strategy = NEW.strategy, endpoint = nullif(coalesce(NEW.endpoint, endpoint), ''),
           config = coalesce(NEW.config, config)
     WHERE service_name = NEW.service_name;
END;
