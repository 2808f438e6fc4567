-- Long form of the maps in rollouts, for plots and GROUP BY objective. The maps of one row have the
-- same keys in the same order, so that they can be unfolded side by side without a look-up.
CREATE OR REPLACE VIEW rollout_objectives AS
SELECT
    run_id, attempt, step, split, kind, prompt_id, group_id, sample, objective, reward, scaled,
    weight, probability, coalesce(action = objective, false) AS emphasised, advantage
FROM (
    SELECT
        *,
        unnest(map_keys(rewards)) AS objective,
        unnest(map_values(rewards)) AS reward,
        unnest(map_values(coalesce(scaled_map, rewards))) AS scaled,
        unnest(map_values(weights)) AS weight,
        unnest(map_values(policy)) AS probability
    FROM (SELECT * RENAME (scaled AS scaled_map) FROM rollouts)
);
COMMENT ON VIEW rollout_objectives IS 'One row a completion and objective: reward, weight and probability';
COMMENT ON COLUMN rollout_objectives.objective IS 'Name of the objective';
COMMENT ON COLUMN rollout_objectives.reward IS 'Raw reward; NaN where the objective does not apply';
COMMENT ON COLUMN rollout_objectives.scaled IS 'Reward as weighted: after sign, condition and scaling';
COMMENT ON COLUMN rollout_objectives.weight IS 'Weight of the objective for this completion';
COMMENT ON COLUMN rollout_objectives.probability IS 'Probability that the Conductor gave the objective';
COMMENT ON COLUMN rollout_objectives.emphasised IS 'True where the sampled action was this objective';
