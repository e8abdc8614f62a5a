-- What differs beside a table that the Go original made; it runs before schema.sql, whose IF NOT EXISTS then leaves these be.
-- Go takes any name, so here only those are refused that no router could ever show or look up.

CREATE TRIGGER IF NOT EXISTS cn_routes_check_insert BEFORE INSERT ON routes BEGIN
    SELECT RAISE(ABORT, 'routes.service_name: a name is a text of 1 to 256 bytes without control characters')
     WHERE (typeof(NEW.service_name) <> 'text' OR length(CAST(NEW.service_name AS BLOB)) NOT BETWEEN 1 AND 256
            OR instr(NEW.service_name, char(0))
            OR NEW.service_name GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*')
       AND NOT EXISTS (SELECT 1 FROM routes WHERE service_name = NEW.service_name);
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
    SELECT RAISE(ABORT, 'routes.service_name: a name is a text of 1 to 256 bytes without control characters')
     WHERE typeof(NEW.service_name) <> 'text' OR length(CAST(NEW.service_name AS BLOB)) NOT BETWEEN 1 AND 256
        OR instr(NEW.service_name, char(0))
        OR NEW.service_name GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*';
    SELECT RAISE(ABORT, 'routes.service_name: another route has this name already; delete it first')
     WHERE EXISTS (SELECT 1 FROM routes WHERE service_name = NEW.service_name);
END;
