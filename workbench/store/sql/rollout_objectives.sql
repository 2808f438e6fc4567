-- Long form of the maps in rollouts, for plots and GROUP BY objective.
CREATE OR REPLACE VIEW rollout_objectives AS
SELECT
    r.run_id, r.attempt, r.step, r.split, r.kind, r.prompt_id, r.group_id, r.sample,
    r.objective,
    r.rewards[r.objective] AS reward,
    coalesce(r.scaled[r.objective], r.rewards[r.objective]) AS scaled,
    r.weights[r.objective] AS weight,
    r.policy[r.objective] AS probability,
    r.action IS NOT NULL AND r.action = r.objective AS emphasised,
    r.advantage
FROM (SELECT *, unnest(map_keys(rewards)) AS objective FROM rollouts) AS r;
COMMENT ON VIEW rollout_objectives IS 'One row a completion and objective: reward, weight and probability';
COMMENT ON COLUMN rollout_objectives.objective IS 'Name of the objective';
COMMENT ON COLUMN rollout_objectives.reward IS 'Raw reward; NaN where the objective does not apply';
COMMENT ON COLUMN rollout_objectives.scaled IS 'Reward as weighted: after sign, condition and scaling';
COMMENT ON COLUMN rollout_objectives.weight IS 'Weight of the objective for this completion';
COMMENT ON COLUMN rollout_objectives.probability IS 'Probability that the Conductor gave the objective';
COMMENT ON COLUMN rollout_objectives.emphasised IS 'True where the sampled action was this objective';
