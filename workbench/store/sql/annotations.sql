-- The newest row of an annotation counts; one that was taken back is gone.
CREATE OR REPLACE VIEW annotations AS
SELECT
    a.run_id, a.annotation_id, a.type, a.split, a.step, a.prompt_id, a.group_id, a.sample,
    a.rater, a.score, a.text, a.time
FROM (FROM archive.annotations UNION ALL BY NAME FROM live.annotations) AS a
ANTI JOIN deleted_runs AS deleted USING (run_id)
QUALIFY row_number() OVER (PARTITION BY a.run_id, a.annotation_id ORDER BY a.time DESC) = 1
    AND a.removed IS DISTINCT FROM true;
COMMENT ON VIEW annotations IS 'Votes, ratings, tags and notes of people';
