-- When the extension that waits on an active grant lapses; 0 when none waits.
ALTER TABLE grants ADD COLUMN extension_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX grants_by_extension ON grants (extension_ms) WHERE extension_ms > 0;
