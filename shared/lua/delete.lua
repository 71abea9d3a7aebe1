-- delete: remove a stream and leave a tombstone that says so. Works under OOM.
-- ARGV  1 tombstone_ms
-- Answers  DELETED | GONE
-- Keeps: no key of the stream outlives the others, and its id is not used again while the tombstone stands.
local function delete(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'tenant')
  if not held[1] then
    return { 'GONE' }
  end
  remove(keys)
  redis.call('DEL', keys[TOMBSTONE])
  redis.call('HSET', keys[TOMBSTONE], 'tenant', held[2], 'gone_ms', digits(now_ms()), 'deleted', '1')
  redis.call('PEXPIRE', keys[TOMBSTONE], args[1])
  return { 'DELETED' }
end
