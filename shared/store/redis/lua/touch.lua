-- touch: somebody reads a stream, so it is the last to be evicted. Works under OOM: it moves what is there.
-- Answers  TOUCHED
local function touch(keys)
  redis.call('ZADD', keys[RECENT], 'XX', 'GT', digits(now_ms()), id_of(keys[META]))
  return { 'TOUCHED' }
end
