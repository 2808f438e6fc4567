CREATE OR REPLACE VIEW checkpoints AS
WITH saved AS (
    SELECT c.*
    FROM (FROM archive.checkpoints UNION ALL BY NAME FROM live.checkpoints) AS c
    LEFT JOIN live.checkpoints_resumed AS newer USING (run_id, step)
    WHERE newer.attempt IS NULL OR c.attempt >= newer.attempt
)
SELECT
    s.run_id, s.attempt, s.step, s.path, s.bytes, s.score, s.other, s.time,
    EXISTS (
        FROM saved AS r
        WHERE r.run_id = s.run_id AND r.step = s.step AND r.removed AND r.time >= s.time
    ) AS removed
FROM saved AS s
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE s.removed IS DISTINCT FROM true;
COMMENT ON VIEW checkpoints IS 'One row a checkpoint that was saved';
