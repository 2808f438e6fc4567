CREATE OR REPLACE VIEW conductor_updates AS
WITH resumed AS MATERIALIZED (FROM live.conductor_updates_resumed),
newest AS (SELECT run_id, step, max(attempt) AS attempt FROM resumed GROUP BY ALL)
SELECT
    c.run_id, c.attempt, c.step, c.loss, c.entropy, c.temperature, c.grad_norm, c.meta_reward,
    c.anchor_agreement, c.anchor_spent, c.policy, c.other, c.time
FROM (
    FROM archive.conductor_updates
    UNION ALL BY NAME FROM live.conductor_updates_first
    UNION ALL BY NAME FROM resumed
) AS c
LEFT JOIN newest USING (run_id, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newest.attempt IS NULL OR c.attempt >= newest.attempt;
COMMENT ON VIEW conductor_updates IS 'One row an update of the Conductor';
