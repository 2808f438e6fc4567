CREATE OR REPLACE VIEW checkpoints AS
WITH resumed AS MATERIALIZED (FROM live.checkpoints_resumed),
newest AS (SELECT run_id, step, max(attempt) AS attempt FROM resumed GROUP BY ALL),
saved AS (
    SELECT c.*
    FROM (
    FROM archive.checkpoints
    UNION ALL BY NAME FROM live.checkpoints_first
    UNION ALL BY NAME FROM resumed
) AS c
    LEFT JOIN newest USING (run_id, step)
    WHERE newest.attempt IS NULL OR c.attempt >= newest.attempt
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
