-- Health of an AgentPool for Argo CD. Argo CD gives scripts no string library.

-- Reasons of a pool that is not ready and becomes so by itself. All others wait for somebody: for a node, an image, a change.
local passing = {Starting = true}

-- The condition of a type, if it is about the spec as it is now.
local function condition(kind)
  for _, candidate in ipairs((obj.status or {}).conditions or {}) do
    if candidate.type == kind then
      local seen = candidate.observedGeneration or (obj.status or {}).observedGeneration
      if seen == nil or obj.metadata.generation == nil or seen >= obj.metadata.generation then
        return candidate
      end
    end
  end
  return nil
end

local function answer(status, about, otherwise)
  return {status = status, message = about and about.message or otherwise}
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", nil, "It is being deleted")
end

local ready = condition("Ready")
if ready == nil then
  return answer("Progressing", nil, "The operator has not seen this generation yet")
end
-- One that sleeps at no agents is ready, too.
if ready.status == "True" then
  return answer("Healthy", ready)
end
-- Progressing says nothing here: it is True for as long as an agent is missing, whatever keeps it away.
if ready.status == "False" and not passing[ready.reason] then
  return answer("Degraded", ready)
end

-- It starts: what it waits for says more than that it is not ready.
if ready.status == "False" then
  for _, kind in ipairs({"Schedulable", "ModelsLoaded"}) do
    local awaited = condition(kind)
    if awaited ~= nil and awaited.status ~= "True" then
      return answer("Progressing", awaited)
    end
  end
end
return answer("Progressing", ready)
