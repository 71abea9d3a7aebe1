-- enqueue: put a job into the queue, at its tenant's turn, and ring for a worker that waits.
-- KEYS  1 queue  2 job (arq's)  3 turns  4 bell
-- ARGV  1 name of the job  2 stream id  3 takeover (true | false)  4 tenant  5 expires_ms  6 most rings
-- Answers  QUEUED turn | THERE (it waits already, and keeps its turn)
-- Keeps: jobs of one tenant are a turn apart, and none is before the head; so of the tenants that wait each gets one job
-- a round, however many one of them has. A takeover spends no turn: somebody is in the middle of reading it.

-- A score of 0 is none to arq.
local FIRST = 1

-- A turn that the head has passed says nothing any more. Each job strikes off some: more than it adds.
local function forget_passed(turns, head)
  local found = redis.call('ZRANGE', turns, 0, 3, 'WITHSCORES')
  for place = 1, #found, 2 do
    if tonumber(found[place + 1]) <= head then
      redis.call('ZREM', turns, found[place])
    end
  end
end

-- The place of the next job of a tenant, which is then spent.
local function next_turn(turns, tenant, head, expires_ms)
  local turn = math.max(head, tonumber(redis.call('ZSCORE', turns, tenant) or head)) + 1
  redis.call('ZADD', turns, turn, tenant)
  redis.call('PEXPIRE', turns, expires_ms)
  forget_passed(turns, head)
  return turn
end

local function ring(bell, most, expires_ms)
  redis.call('LPUSH', bell, 1)
  redis.call('LTRIM', bell, 0, tonumber(most) - 1)
  redis.call('PEXPIRE', bell, expires_ms)
end

local function enqueue(keys, args)
  local queue, job_key, turns, bell = unpack(keys)
  local refusal = refusal_of('enqueue', {
    'SET', job_key, 'ZSCORE', queue, 'ZRANGE', queue, 'ZADD', queue, 'PEXPIRE', queue, 'DEL', turns, 'ZSCORE', turns, 'ZADD', turns,
    'PEXPIRE', turns, 'ZRANGE', turns, 'ZREM', turns, 'LPUSH', bell, 'LTRIM', bell, 'PEXPIRE', bell,
  })
  if refusal then
    return refusal
  end
  local name, expires_ms = args[1], args[5]
  local job = '{"t":null,"f":"pull","a":["' .. args[2] .. '"],"k":{"takeover":' .. args[3] .. '},"et":' .. digits(now_ms()) .. '}'
  redis.call('SET', job_key, job, 'PX', expires_ms)
  if redis.call('ZSCORE', queue, name) then
    ring(bell, args[6], expires_ms)
    return { 'THERE' }
  end
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if #first == 0 then
    redis.call('DEL', turns)
  end
  local head = tonumber(first[2] or FIRST)
  local turn = args[3] == 'true' and head or next_turn(turns, args[4], head, expires_ms)
  redis.call('ZADD', queue, turn, name)
  redis.call('PEXPIRE', queue, expires_ms)
  ring(bell, args[6], expires_ms)
  return { 'QUEUED', digits(turn) }
end
