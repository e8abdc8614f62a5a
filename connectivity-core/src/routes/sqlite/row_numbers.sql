-- For a table whose rows have numbers, as all have but those made WITHOUT ROWID. REPLACE also takes away a row of the same
-- number, whatever its name is, and fires no DELETE trigger.

CREATE TRIGGER IF NOT EXISTS cn_routes_check_number_insert BEFORE INSERT ON routes
WHEN EXISTS (SELECT 1 FROM routes WHERE rowid = NEW.rowid AND service_name IS NOT NEW.service_name) BEGIN
    SELECT RAISE(ABORT, 'routes.rowid: another route has this number; leave it out');
END;

CREATE TRIGGER IF NOT EXISTS cn_routes_check_number_update BEFORE UPDATE ON routes
WHEN NEW.rowid IS NOT OLD.rowid AND EXISTS (SELECT 1 FROM routes WHERE rowid = NEW.rowid) BEGIN
    SELECT RAISE(ABORT, 'routes.rowid: another route has this number; leave it out');
END;
