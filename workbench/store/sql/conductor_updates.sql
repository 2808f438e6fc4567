CREATE OR REPLACE VIEW conductor_updates AS
SELECT
    c.run_id, c.attempt, c.step, c.loss, c.entropy, c.temperature, c.grad_norm, c.meta_reward,
    c.anchor_agreement, c.anchor_spent, c.policy, c.other, c.time
FROM (FROM archive.conductor_updates UNION ALL BY NAME FROM live.conductor_updates) AS c
LEFT JOIN live.conductor_updates_resumed AS newer USING (run_id, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newer.attempt IS NULL OR c.attempt >= newer.attempt;
COMMENT ON VIEW conductor_updates IS 'One row an update of the Conductor';
