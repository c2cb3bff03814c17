-- Every change of a job, each one atomic. See ledger.py for what the operations mean.
--
-- KEYS  1 the job's hash   2 set of active ids   3 sorted set of all ids   4 stream of events   5 hash of a needed job
--       6 mark of the last rebuild
-- ARGV  1 operation   2 id   3.. arguments
-- Answers are lists whose first entry is a word.
--
-- A token is the server's time in ms when the job was claimed, and always above the one before. So a claim after Redis
-- was emptied beats every claim from before it, even where the rebuilt hash knows nothing of those.

local key, active, all, stream, needed, generation = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id = ARGV[2]
local ENDED = {finished = true, failed = true, cancelled = true}
local STREAM_LIFE_S = 600  -- of a run that has ended: who reads it later goes to the archive

local function text(number) return string.format('%.0f', number) end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function get(field) return redis.call('HGET', key, field) end
local function number(field) return tonumber(get(field) or '0') end
local function set(...) redis.call('HSET', key, ...) end
local function drop(...) redis.call('HDEL', key, ...) end

local function set_pairs(from)
  for index = from, #ARGV, 2 do
    if ARGV[index + 1] == '' then drop(ARGV[index]) else set(ARGV[index], ARGV[index + 1]) end
  end
end

local function raise_token() set('token', text(number('token') + 1)) end

-- Says why a holder may not go on, or nil. A job that was reaped or rebuilt and that nobody took is still the holder's.
local function refused(token)
  local state = get('state')
  if not state then return {'unknown'} end
  if tonumber(token) < number('token') then return {'lost'} end
  return nil
end

local function ended(state)
  set('state', state, 'finished_ms', text(now()))
  drop('holder', 'waiting_for')
  redis.call('SREM', active, id)
  redis.call('EXPIRE', stream, STREAM_LIFE_S)
end

local function count_death()
  local epoch = number('epoch')
  if epoch > number('death_epoch') then
    set('deaths', '1', 'death_epoch', text(epoch))
  else
    redis.call('HINCRBY', key, 'deaths', 1)
  end
  redis.call('HINCRBY', key, 'attempt', 1)
end

-- Says why one more job may not be queued, or nil. Limits: jobs that wait, those of them of one owner, and jobs that are
-- kept; '' is none. The waiting ones are counted each time: a counter could drift.
local function full(owner, most_queued, most_of_owner, most_kept)
  if most_kept ~= '' and redis.call('ZCARD', all) >= tonumber(most_kept) then return {'too-many'} end
  if most_queued == '' and most_of_owner == '' then return nil end
  local prefix = string.sub(key, 1, #key - #id)
  local queued, of_owner = 0, 0
  for _, other in ipairs(redis.call('SMEMBERS', active)) do
    local found = redis.call('HMGET', prefix .. other, 'state', 'owner')
    if found[1] == 'queued' then
      queued = queued + 1
      if found[2] == owner then of_owner = of_owner + 1 end
    end
  end
  if most_queued ~= '' and queued >= tonumber(most_queued) then return {'queue-full'} end
  if most_of_owner ~= '' and of_owner >= tonumber(most_of_owner) then return {'share-full'} end
  return nil
end

local operations = {}

function operations.create()
  if get('state') then return {'exists'} end
  local refusal = full(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
  if refusal then return refusal end
  set('id', id, 'state', 'queued', 'token', '0', 'beat', '0', 'attempt', '1', 'deaths', '0', 'created_ms', ARGV[3])
  if ARGV[4] ~= '' then set('owner', ARGV[4]) end
  set_pairs(8)
  redis.call('ZADD', all, ARGV[3], id)
  redis.call('SADD', active, id)
  return {'ok'}
end

function operations.claim()
  local holder, waits = ARGV[3], ARGV[4]
  local state = get('state')
  if not state then return {'unknown'} end
  if (state == 'running' or state == 'cancelling') and get('holder') == holder then  -- a reply was lost
    return {'ok', get('token'), get('attempt'), get('deaths'), get('reason') or '', get('started_ms') or ''}
  end
  if ENDED[state] then return {'ended'} end
  if state ~= 'queued' then return {'taken'} end
  if waits ~= '' then
    local other = redis.call('HGET', needed, 'state')
    -- One that a whole ledger does not list is set apart or deleted: it never ends, and the claimant says why.
    local comes = other or redis.call('EXISTS', generation) == 0
    if comes and not ENDED[other] then
      set('waiting_for', waits)
      return {'waiting'}
    end
  end
  local token = math.max(number('token') + 1, now())
  set('state', 'running', 'holder', holder, 'token', text(token))
  redis.call('HSETNX', key, 'started_ms', text(now()))
  redis.call('HINCRBY', key, 'beat', 1)
  redis.call('SADD', active, id)
  drop('waiting_for')
  return {'ok', text(token), get('attempt'), get('deaths'), get('reason') or '', get('started_ms')}
end

function operations.renew()
  local token, attempt, holder = ARGV[3], ARGV[4], ARGV[5]
  local refusal = refused(token)
  if refusal then return refusal end
  local state = get('state')
  if ENDED[state] then return {'lost'} end
  if state == 'queued' or tonumber(token) > number('token') then
    if state == 'queued' then set('state', 'running') end
    set('token', token, 'attempt', attempt, 'holder', holder)
    redis.call('SADD', active, id)
    drop('waiting_for')
  end
  redis.call('HINCRBY', key, 'beat', 1)
  if get('state') == 'cancelling' then return {'cancel'} end
  return {'ok'}
end

function operations.update()
  local refusal = refused(ARGV[3])
  if refusal then return refusal end
  if ENDED[get('state')] then return {'refused'} end
  set_pairs(4)
  return {'ok'}
end

function operations.transition()
  local token, from, to = ARGV[3], ARGV[4], ARGV[5]
  local refusal = refused(token)
  if refusal then return refusal end
  local state = get('state')
  if state == to then return {'ok'} end  -- a reply was lost
  if state == 'queued' then state = 'running' end  -- reaped or rebuilt, and nobody took it
  if not string.find(from, ',' .. state .. ',', 1, true) then return {'refused'} end
  set('token', token)
  set_pairs(6)
  ended(to)
  return {'ok'}
end

function operations.requeue()
  local token, reason, waits, same_attempt = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  local refusal = refused(token)
  if refusal then return refusal end
  local state = get('state')
  if state == 'queued' then return {'ok'} end
  if state ~= 'running' then return {'refused'} end
  if same_attempt ~= '1' then count_death() end
  set('state', 'queued', 'reason', reason, 'token', token)
  if waits == '' then drop('waiting_for') else set('waiting_for', waits) end
  drop('holder')
  raise_token()
  return {'ok'}
end

function operations.cancel()
  local state = get('state')
  if not state then return {'unknown'} end
  if ENDED[state] then return {'refused', state, get('token')} end
  if state == 'queued' then
    raise_token()
    ended('cancelled')
  else
    set('state', 'cancelling')
  end
  return {'ok', get('state'), get('token')}
end

function operations.reap()
  local state = get('state')
  if state ~= 'running' and state ~= 'cancelling' then return {'refused'} end
  if get('token') ~= ARGV[3] or get('beat') ~= ARGV[4] then return {'refused'} end
  if state == 'cancelling' then
    raise_token()
    ended('cancelled')
  else
    count_death()
    set('state', 'queued', 'reason', ARGV[5])
    drop('holder')
  end
  return {'ok', get('state'), get('token')}
end

function operations.resume()
  local state = get('state')
  if not state then return {'unknown'} end
  if not string.find(ARGV[3], ',' .. state .. ',', 1, true) then return {'refused', state} end
  local refusal = full(ARGV[4], ARGV[5], ARGV[6], '')
  if refusal then return refusal end
  if ARGV[4] ~= '' then set('owner', ARGV[4]) end
  set('state', 'queued', 'deaths', '0', 'death_epoch', get('epoch') or '0', 'reason', 'resumed by a person')
  drop('error', 'finished_ms', 'result', 'waiting_for')
  redis.call('HINCRBY', key, 'attempt', 1)
  redis.call('SADD', active, id)
  raise_token()
  return {'ok', 'queued'}
end

function operations.wait()
  local state = get('state')
  if not state then return {'unknown'} end
  if state ~= 'queued' then return {'refused'} end
  if ARGV[3] == '' then drop('waiting_for') else set('waiting_for', ARGV[3]) end
  return {'ok'}
end

function operations.restore()
  local state, token, created_ms = ARGV[3], ARGV[4], ARGV[5]
  if get('state') then
    if tonumber(token) > number('token') then set('token', token) end
    return {'exists'}
  end
  set('id', id, 'state', state, 'token', token, 'beat', '0', 'deaths', '0', 'created_ms', created_ms)
  set_pairs(6)
  redis.call('ZADD', all, created_ms, id)
  if not ENDED[state] then redis.call('SADD', active, id) end
  return {'ok'}
end

function operations.annotate()
  if not get('state') then return {'unknown'} end
  set('facts', ARGV[3])
  return {'ok'}
end

function operations.delete()
  local state = get('state')
  if not state then return {'unknown'} end
  if not ENDED[state] then return {'refused', state} end
  redis.call('DEL', key, stream)
  redis.call('SREM', active, id)
  redis.call('ZREM', all, id)
  return {'ok'}
end

-- An entry must follow the one before it; an empty stream may begin anywhere (readers go to the archive for the rest).
function operations.append()
  local token, seq, event, longest = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
  local refusal = refused(token)
  if refusal then return refusal end
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  local newest = 0
  if last[1] then newest = tonumber(string.match(last[1][1], '^(%d+)')) end
  if seq <= newest then return {'double', text(newest)} end
  if newest > 0 and seq > newest + 1 then return {'behind', text(newest)} end
  redis.call('XADD', stream, 'MAXLEN', '~', longest, ARGV[4] .. '-0', 'event', event)
  if ENDED[get('state')] then
    redis.call('EXPIRE', stream, STREAM_LIFE_S)
  else
    redis.call('PERSIST', stream)
    set_pairs(7)
  end
  return {'ok', text(seq)}
end

local operation = operations[ARGV[1]]
if not operation then return redis.error_reply('ERR unknown ledger operation') end
return operation()
