-- What Stagger does in Redis, form 1. It knows no rule about leases: it keeps records, calls and answers, and lets one sit.
-- KEYS[1]: what every key of the domain begins with. ARGV[1]: what to do. Every verb of a steward checks first that nobody
-- else has sat since, and that this is the very server at which it sat; then it is done whole.
--
-- KIND                    hash: the records of one kind, by the rest of their key
-- store:kinds             set: the kinds there are
-- store:seat              who sits; gone when that one says nothing
-- store:steward           who sat last; empty when that one left
-- store:sits              how often somebody sat
-- store:run               the server, by its run and its last promotion, at which a steward last wrote
-- store:calls             hash: what is asked, by CALLER/NUMBER
-- store:calls-until       sorted set: when each call is out of time
-- store:bell:STEWARD      list: +CALL came, or -CALL is gone
-- store:answers:CALLER    list: NUMBER, a space, the answer

if redis.replicate_commands then redis.replicate_commands() end -- Redis 6.2 asks for it

local call = redis.call
local BATCH, BATCH_BYTES = 256, 4 * 1024 * 1024

local function key(name) return KEYS[1] .. 'store:' .. name end
local function now()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A server that became a replica and is a master again has the same run. But since then its history has a second name, that of
-- whom it followed, and a first name of its own.
local function run_id()
  local run = string.match(call('INFO', 'server'), 'run_id:(%x+)')
  local history = call('INFO', 'replication')
  if string.match(history, 'master_replid2:0+%s') then return run end
  return run .. ' ' .. (string.match(history, 'master_replid:(%x+)') or '')
end

local function drop_late(most)
  for _, id in ipairs(call('ZRANGEBYSCORE', key('calls-until'), '-inf', now(), 'LIMIT', 0, most)) do
    call('ZREM', key('calls-until'), id)
    call('HDEL', key('calls'), id)
  end
end

-- Rings for every call that lies there.
local function ring_all(steward)
  drop_late(-1)
  local bell, ids = key('bell:' .. steward), call('ZRANGE', key('calls-until'), 0, -1)
  call('DEL', bell)
  for _, id in ipairs(ids) do call('LPUSH', bell, '+' .. id) end
  return ids
end

local function ring(entry)
  local steward = call('GET', key('steward'))
  if steward and steward ~= '' then call('LPUSH', key('bell:' .. steward), entry) end
end

local anyone, steward = {}, {}

function anyone.post(id, request, kept_ms)
  call('HSET', key('calls'), id, request)
  call('ZADD', key('calls-until'), now() + kept_ms, id)
  drop_late(100)
  ring('+' .. id)
  return { call('EXISTS', key('seat')) }
end

function anyone.take_back(id)
  if call('HDEL', key('calls'), id) == 1 then
    call('ZREM', key('calls-until'), id)
    ring('-' .. id)
  end
  return {}
end

-- A right that is missing shows here, and not in the middle of a commit.
local function try_rights()
  local try = key('try')
  call('HSET', try, 'a', 'a')
  call('HDEL', try, 'a')
  call('SADD', try, 'a')
  call('DEL', try)
  call('RPUSH', try, 'a')
  call('LREM', try, 1, 'a')
end

function anyone.try()
  try_rights()
  return {}
end

function anyone.seat() return { call('EXISTS', key('seat')) } end

function anyone.sit(name, kept_ms)
  if call('EXISTS', key('seat')) == 1 then return { 'taken' } end
  try_rights()
  local last = call('GET', key('steward'))
  if last then call('DEL', key('bell:' .. last)) end
  local me = name .. '#' .. call('INCR', key('sits'))
  call('SET', key('seat'), me, 'PX', kept_ms)
  call('SET', key('steward'), me)
  ring_all(me)
  local wrote, run = call('GET', key('run')), run_id()
  return { 'sat', me, run, (wrote and wrote ~= run) and 1 or 0 }
end

function steward.kinds() return call('SMEMBERS', key('kinds')) end

function steward.records(_, kind) return call('HGETALL', KEYS[1] .. kind) end

-- Then four for each write: kind, rest of the key, 1 to write or 0 to delete, text. Read from ARGV: they are too many to be
-- handed over.
function steward.commit(me, kept_ms)
  local kinds = {}
  call('SET', key('seat'), me, 'PX', kept_ms)
  local run = run_id()
  if call('GET', key('run')) ~= run then call('SET', key('run'), run) end
  for at = 3, #ARGV, 4 do
    local kind, field = ARGV[at], ARGV[at + 1]
    if ARGV[at + 2] == '1' then
      call('HSET', KEYS[1] .. kind, field, ARGV[at + 3])
      kinds[kind] = true
    else
      call('HDEL', KEYS[1] .. kind, field)
    end
  end
  for kind in pairs(kinds) do
    if call('SISMEMBER', key('kinds'), kind) == 0 then call('SADD', key('kinds'), kind) end
  end
  return {}
end

-- What was rung for, and, when all is rung for again, every call there is.
function steward.hear(me, rung, again)
  local all = again == '1' and ring_all(me) or {}
  local heard, bytes = {}, 0
  local entry = rung
  if entry == '' then entry = call('RPOP', key('bell:' .. me)) end
  while entry do
    local id = string.sub(entry, 2)
    if string.sub(entry, 1, 1) == '-' then
      table.insert(heard, id)
      table.insert(heard, false)
    else
      local request = call('HGET', key('calls'), id)
      if request then
        table.insert(heard, id)
        table.insert(heard, request)
        bytes = bytes + #request
      end
    end
    if #heard >= 2 * BATCH or bytes >= BATCH_BYTES then break end
    entry = call('RPOP', key('bell:' .. me))
  end
  return { heard, all }
end

-- Then three for each answer: caller, number, text.
function steward.reply(_, kept_ms)
  for at = 3, #ARGV, 3 do
    local caller, number = ARGV[at], ARGV[at + 1]
    local id, lying = caller .. '/' .. number, key('answers:' .. caller)
    if call('HDEL', key('calls'), id) == 1 then
      call('ZREM', key('calls-until'), id)
      call('RPUSH', lying, number .. ' ' .. ARGV[at + 2])
      call('PEXPIRE', lying, kept_ms)
    end
  end
  return {}
end

function steward.take_back_answer(_, caller, number)
  local lying, start = key('answers:' .. caller), number .. ' '
  for _, answer in ipairs(call('LRANGE', lying, 0, -1)) do
    if string.sub(answer, 1, #start) == start then return { call('LREM', lying, 1, answer) } end
  end
  return { 0 }
end

function steward.stay(me, kept_ms)
  call('SET', key('seat'), me, 'PX', kept_ms)
  return {}
end

function steward.erase(me)
  for _, kind in ipairs(call('SMEMBERS', key('kinds'))) do call('DEL', KEYS[1] .. kind) end
  for _, name in ipairs({ 'kinds', 'seat', 'steward', 'sits', 'run', 'calls', 'calls-until', 'bell:' .. me }) do
    call('DEL', key(name))
  end
  return {}
end

-- Then three for each answer, as in a reply.
function steward.leave(me, kept_ms)
  steward.reply(me, kept_ms)
  call('SET', key('steward'), '')
  call('DEL', key('seat'), key('bell:' .. me))
  return {}
end

local verb = table.remove(ARGV, 1)
if anyone[verb] then return anyone[verb](ARGV[1], ARGV[2], ARGV[3]) end
local me, run = ARGV[1], table.remove(ARGV, 2)
if call('GET', key('steward')) ~= me then return { 'deposed' } end
if run_id() ~= run then return { 'replaced' } end
return { 'done', steward[verb](ARGV[1], ARGV[2], ARGV[3]) }
