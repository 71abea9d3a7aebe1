-- announce: a worker says that it is there, or that it goes.
-- KEYS  1 workers
-- ARGV  1 worker  2 what it says of itself, a JSON object with at least one member; empty when it goes  3 gone_ms
-- Answers  how many workers are there and take jobs
-- Keeps: times are Redis' own. Who has said nothing for gone_ms is struck off by whoever comes next, and the key goes with the last of them.

local function announce(keys, args)
  local refusal = refusal_of('announce', { 'HSET', keys[1], 'PEXPIRE', keys[1], 'HGETALL', keys[1], 'HDEL', keys[1] })
  if refusal then
    return refusal
  end
  local now, gone_ms = now_ms(), tonumber(args[3])
  if args[2] == '' then
    redis.call('HDEL', keys[1], args[1])
  else
    local before = redis.call('HGET', keys[1], args[1]) or ''
    local started_ms = string.match(before, '"started_ms":(%d+)') or digits(now)
    local times = '{"seen_ms":' .. digits(now) .. ',"started_ms":' .. started_ms .. ','
    redis.call('HSET', keys[1], args[1], times .. string.sub(args[2], 2))
    redis.call('PEXPIRE', keys[1], gone_ms)
  end
  local said, taking = redis.call('HGETALL', keys[1]), 0
  for place = 1, #said, 2 do
    local seen_ms = tonumber(string.match(said[place + 1], '"seen_ms":(%d+)') or 0)
    if now - seen_ms > gone_ms then
      redis.call('HDEL', keys[1], said[place])
    elseif not string.find(said[place + 1], '"draining":true', 1, true) then
      taking = taking + 1
    end
  end
  return taking
end
