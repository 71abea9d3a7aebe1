-- tend: look through the head of the queue, and free what is stuck there.
-- KEYS  1 queue
-- ARGV  1 most jobs looked at  2 hold_ms  3 what arq's in-progress keys begin with  4 what its job keys begin with
-- Answers  jobs held stuck wait_ms: all jobs of the queue; those looked at that somebody holds; those held longer than any
-- worker of today would, or without content; and how long ago the first one came.
-- Keeps: no job is held for longer than hold_ms by a worker that is gone, whatever version it was.

-- A hold without an expiry counts as one that is too long.
local function is_stuck(ttl_ms, hold_ms)
  return ttl_ms == -1 or ttl_ms > hold_ms
end

local function wait_ms(job)
  local since = job and string.match(job, '"et":(%d+)')
  return since and math.max(0, now_ms() - tonumber(since)) or 0
end

local function tend(keys, args)
  local jobs, hold_ms = redis.call('ZCARD', keys[1]), tonumber(args[2])
  local names, held, stuck = redis.call('ZRANGE', keys[1], 0, tonumber(args[1]) - 1), 0, 0
  local first = names[1] and redis.call('GET', args[4] .. names[1])
  for _, name in ipairs(names) do
    local ttl_ms = redis.call('PTTL', args[3] .. name)
    if redis.call('EXISTS', args[4] .. name) == 0 then
      stuck = stuck + 1
      redis.call('ZREM', keys[1], name)
    elseif ttl_ms ~= -2 then
      held = held + 1
      if is_stuck(ttl_ms, hold_ms) then
        stuck = stuck + 1
        redis.call('PEXPIRE', args[3] .. name, hold_ms)
      end
    end
  end
  return { jobs, held, stuck, wait_ms(first) }
end
