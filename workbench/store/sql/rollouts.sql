-- Every completion of every run once: native rows and those still in segments. Where attempts
-- overlap, the newest wins. MATERIALIZED, because resumed segments must be listed once only: a
-- segment that appears between two listings would show a step twice, or not at all.
CREATE OR REPLACE VIEW rollouts AS
WITH resumed AS MATERIALIZED (FROM live.rollouts_resumed),
newest AS (SELECT run_id, split, step, max(attempt) AS attempt FROM resumed GROUP BY ALL),
everything AS (
    SELECT archived.* EXCLUDE (prompt_key), texts.text AS prompt
    FROM archive.rollouts AS archived
    LEFT JOIN archive.texts AS texts ON texts.text_key = archived.prompt_key
    UNION ALL BY NAME
    FROM live.rollouts_first
    UNION ALL BY NAME
    FROM resumed
)
SELECT
    r.run_id, r.attempt, r.step, r.split, r.kind, r.prompt_id, r.prompt, r.group_id, r.sample,
    r.completion, r.num_tokens, r.truncated, r.rewards, r.scaled, r.weights, r.policy, r.action,
    r.scalar, r.mask, r.judge_share, r.advantage, r.kl, r.behaviour_logp, r.reference_logp, r.judge,
    r.token_ids, r.token_entropies, r.loss_tokens, r.prompt_token_ids, r.time
FROM everything AS r
LEFT JOIN newest USING (run_id, split, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newest.attempt IS NULL OR r.attempt >= newest.attempt;
COMMENT ON VIEW rollouts IS 'One row a completion: what was sampled, how it was scored, weighted and used';
