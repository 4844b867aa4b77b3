"""The statements of recall. Each is one statement, so that a promotion of rebuilt tables can never be seen half.

Vector part: exact cosine similarity over one owner's vectors. ``+ 0`` keeps the planner from ever using an approximate index over
all owners, which silently loses answers under an owner filter. Stored numbers may be float16; they are compared as float32, so a
query's vector is not rounded: rounded to float16 it would change the order (on 10,000 random vectors from the 90th place on). The
distance is an output of what sorts by it, else it is computed twice for each row. Vectors of messages and summaries stand
beside those of memories and take no part.

Text part: BM25 inside the owner, with the owner's own document frequencies, on PostgreSQL's stems. A query word counts as one
term with its English and its Spanish stem as alternatives; stop words of the language of which the query has more are left out.
Measured on LoCoMo (five conversations, 999 questions, facts as documents, evidence recall@10 by turn): BM25 0.605, ts_rank
0.564, ts_rank_cd 0.557.

Fusion: a convex combination of both parts, each divided by the best of this query. Same data: 0.627; reciprocal rank fusion 0.574
with its usual constants and 0.612 with the best found; vectors alone 0.531 (static word vectors, 256 dimensions).
"""

from __future__ import annotations

VECTOR_WEIGHT = 0.4
"""Share of the vector part; 0.3 to 0.5 do equally well."""
BM25_K1, BM25_B = 1.2, 0.3
"""BM25's saturation and length normalisation. Facts are about equally long, so length says little."""
VECTOR_POOL = 1_000
"""Nearest vectors that take part in the fusion."""
MAX_QUERY_CHARACTERS = 2_000
MAX_TERMS = 64
MENTIONS = 20
"""Newest mentions told with an answer."""
FRESH_LOOKED_AT = 200
"""Newest memories among which those without a vector are looked for."""


def _quoted(lexeme: str) -> str:
    """SQL for a lexeme in tsquery's own quotes: quote_literal would write E'...' where there is a backslash."""
    return f"''''|| replace(replace({lexeme}, '\\', '\\\\'), '''', '''''') || ''''"


_STEMS = f"({_quoted('coalesce(en[1], word)')} || ' | ' || {_quoted('coalesce(es[1], word)')})::tsquery"

_TEXT = f"""
words AS MATERIALIZED (
    SELECT lexeme AS word, ts_lexize('english_stem', lexeme) AS en, ts_lexize('spanish_stem', lexeme) AS es
    FROM unnest(to_tsvector('simple', %(text)s)) ORDER BY positions[1] LIMIT {MAX_TERMS}
),
stops AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE en = '{{}}') AS en_stops, count(*) FILTER (WHERE es = '{{}}') AS es_stops FROM words
),
terms AS MATERIALIZED (
    SELECT row_number() OVER () AS term, {_STEMS} AS query FROM words, stops
    WHERE NOT CASE WHEN en_stops > es_stops THEN en = '{{}}' WHEN es_stops > en_stops THEN es = '{{}}'
                   ELSE en = '{{}}' OR es = '{{}}' END
),
corpus AS MATERIALIZED (
    SELECT count(*)::float8 AS documents FROM thermal_memory_archive WHERE owner = %(owner)s AND EXISTS (SELECT 1 FROM terms)
),
hits AS MATERIALIZED (
    -- one pass over the owner's rows; OFFSET 0 keeps the planner from testing every term against every row
    SELECT m.id, m.words / avg(m.words) OVER () AS length, t.term
    FROM (
        SELECT id, tsv, length(tsv)::float8 AS words FROM thermal_memory_archive
        WHERE owner = %(owner)s AND tsv @@ (SELECT string_agg(query::text, ' | ')::tsquery FROM terms) OFFSET 0
    ) m CROSS JOIN LATERAL (SELECT term FROM terms WHERE m.tsv @@ terms.query OFFSET 0) t
),
weights AS (
    SELECT term, ln(1 + (documents - count(*) + 0.5) / (count(*) + 0.5)) AS idf FROM hits, corpus GROUP BY term, documents
),
by_text AS MATERIALIZED (
    SELECT id, sum(idf * ({BM25_K1} + 1) / (1 + {BM25_K1} * (1 - {BM25_B} + {BM25_B} * length))) AS bm25
    FROM hits JOIN weights USING (term) GROUP BY id
)"""

_VECTOR = f"""
by_vector AS MATERIALIZED (
    SELECT id, 1 - distance AS similarity FROM (
        SELECT trace_id AS id, (vec::vector <=> %(vector)s::vector) + 0 AS distance FROM memory_embedding
        WHERE owner = %(owner)s AND kind = 'memory' AND head = %(head)s AND model = %(model)s AND dimensions = %(dimensions)s
        ORDER BY distance LIMIT {VECTOR_POOL}
    ) nearest
)"""

_NO_VECTOR = "by_vector AS (SELECT NULL::uuid AS id, NULL::float8 AS similarity WHERE false)"

_FUSED = f"""
fused AS (
    SELECT id, similarity, bm25,
        {VECTOR_WEIGHT} * coalesce(greatest(similarity, 0) / nullif(max(greatest(similarity, 0)) OVER (), 0), 0)
        + {1 - VECTOR_WEIGHT} * coalesce(bm25 / nullif(max(bm25) OVER (), 0), 0) AS score
    FROM by_vector FULL JOIN by_text USING (id)
),
best AS (
    SELECT f.id, f.similarity, f.bm25, f.score FROM fused f JOIN thermal_memory_archive a USING (id)
    WHERE a.owner = %(owner)s AND f.score > 0 ORDER BY f.score DESC, f.id LIMIT %(k)s
)
SELECT a.id::text, a.original_content, b.score, b.similarity, b.bm25, a.temperature_score, a.last_access, a.created_at,
    a.access_count, a.version, a.salience, a.sacred, a.tags, a.metadata,
    a.initial, a.reheat, a.maximum, a.floor, a.half_life_days,
    a.partition, a.added_offset, a.added_sequence, a.added_cause, a.turn_id, a.session_id, a.message_ids,
    a.producer_message_ids, a.extractor, a.model, a.rules,
    ARRAY(
        SELECT jsonb_build_object('sequence', m.sequence, 'offset', m.event_offset, 'turn_id', m.turn_id,
            'session_id', m.session_id, 'message_ids', m.message_ids, 'producer_message_ids', m.producer_message_ids,
            'occurred_at', m.occurred_at)
        FROM memory_mention m WHERE m.memory_id = a.id ORDER BY m.sequence DESC LIMIT {MENTIONS}
    ) AS mentions
FROM best b JOIN thermal_memory_archive a USING (id) ORDER BY b.score DESC, b.id
"""

SEARCH = f"WITH {_TEXT}, {_VECTOR}, {_FUSED}"
SEARCH_BY_TEXT = f"WITH {_TEXT}, {_NO_VECTOR}, {_FUSED}"

NEAREST = f"""
WITH near AS MATERIALIZED (
    SELECT id, original_content, 1 - distance AS score, 0 AS part FROM (
        SELECT a.id, a.original_content, (e.vec::vector <=> %(vector)s::vector) + 0 AS distance
        FROM memory_embedding e JOIN thermal_memory_archive a ON a.id = e.trace_id AND a.owner = e.owner
        WHERE e.owner = %(owner)s AND e.kind = 'memory' AND e.head = %(head)s AND e.model = %(model)s
            AND e.dimensions = %(dimensions)s
        ORDER BY distance, id LIMIT %(limit)s
    ) nearest
),
newest AS MATERIALIZED (
    SELECT id, original_content, added_offset FROM thermal_memory_archive
    WHERE owner = %(owner)s ORDER BY added_offset DESC LIMIT {FRESH_LOOKED_AT}
),
fresh AS (
    SELECT n.id, n.original_content, NULL::float8 AS score, 1 AS part FROM newest n
    WHERE NOT EXISTS (
        SELECT 1 FROM memory_embedding e WHERE e.trace_id = n.id AND e.head = %(head)s AND e.model = %(model)s
    ) ORDER BY n.added_offset DESC LIMIT %(limit)s
)
SELECT p.last_cause, r.id::text, r.original_content, r.score
FROM (SELECT (SELECT last_cause FROM emberlog_thermal_owner_position WHERE owner = %(owner)s) AS last_cause) p
LEFT JOIN (SELECT * FROM near UNION ALL SELECT * FROM fresh) r ON true
ORDER BY r.part, r.score DESC NULLS LAST, r.id
"""
