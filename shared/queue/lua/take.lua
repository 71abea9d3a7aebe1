-- take: the next jobs that nobody holds. Whoever takes them holds them until they are done, or for hold_ms.
-- KEYS  1 queue  2 bell
-- ARGV  1 worker  2 most jobs  3 hold_ms  4 what arq's in-progress keys begin with  5 whether to answer what this worker holds as well
-- Answers  name turn, name turn, …
-- Keeps: a job is held by one worker at a time, and no longer than hold_ms after that worker has died. Jobs that are
-- held hide none behind them. Rings for jobs that are all gone are taken back: each would wake a worker for nothing.

local PAGE = 100

local function take(keys, args)
  local refusal = refusal_of('take', { 'SET', args[4], 'GET', args[4], 'DEL', keys[2] })
  if refusal then
    return refusal
  end
  local worker, most, hold_ms, prefix, is_again = args[1], tonumber(args[2]), args[3], args[4], args[5] == '1'
  local taken, from = {}, 0
  while true do
    local page = redis.call('ZRANGE', keys[1], from, from + PAGE - 1, 'WITHSCORES')
    for place = 1, #page, 2 do
      local hold = prefix .. page[place]
      if redis.call('SET', hold, worker, 'NX', 'PX', hold_ms) or (is_again and redis.call('GET', hold) == worker) then
        taken[#taken + 1], taken[#taken + 2] = page[place], page[place + 1]
      end
      if #taken == 2 * most then
        return taken
      end
    end
    if #page < 2 * PAGE then
      redis.call('DEL', keys[2])
      return taken
    end
    from = from + PAGE
  end
end
