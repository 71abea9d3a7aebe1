-- delete: remove a stream and leave a tombstone that says so. Works under OOM.
-- ARGV  1 tombstone_ms
-- Answers  DELETED | GONE
-- Keeps: no key of the stream outlives the others, and its id is not used again while the tombstone stands.

-- Whoever creates and deletes holds nothing but tombstones, which no budget counts. So they stand less long when there are many:
-- about this many at a time in a bucket, by the rate of the last ten to twenty minutes.
local DELETED_MOST, DELETED_LEAST_MS, DELETED_MOST_MS = 1024, 600000, 1200000

local function stands_ms(keys, now, wanted_ms)
  local held = redis.call('HMGET', keys[USAGE], 'deleted_since', 'deleted')
  local since, count = tonumber(held[1] or now), tonumber(held[2] or 0) + 1
  if now - since > DELETED_MOST_MS then
    count = math.ceil(count * DELETED_LEAST_MS / (now - since))
    since = now - DELETED_LEAST_MS
  end
  redis.call('HSET', keys[USAGE], 'deleted_since', digits(since), 'deleted', digits(count))
  return math.min(wanted_ms, math.ceil(DELETED_MOST * math.max(now - since, DELETED_LEAST_MS) / count))
end

local function delete(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'tenant')
  if not held[1] then
    return { 'GONE' }
  end
  local refusal = refusal_of('delete', keys)
  if refusal then
    return refusal
  end
  local now = now_ms()
  remove(keys)
  redis.call('DEL', keys[TOMBSTONE])
  redis.call('HSET', keys[TOMBSTONE], 'tenant', held[2], 'gone_ms', digits(now), 'deleted', '1')
  redis.call('PEXPIRE', keys[TOMBSTONE], digits(stands_ms(keys, now, tonumber(args[1]))))
  return { 'DELETED' }
end
