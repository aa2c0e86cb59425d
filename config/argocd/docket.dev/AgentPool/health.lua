-- Health of an AgentPool for Argo CD. Argo CD gives scripts no string library.

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
if ready.status == "True" then
  return answer("Healthy", ready)
end

-- No pod can run before somebody adds a node or changes the spec.
local schedulable = condition("Schedulable")
if schedulable ~= nil and schedulable.status == "False" then
  return answer("Degraded", schedulable)
end

local progressing = condition("Progressing")
if progressing ~= nil and progressing.status == "True" then
  local models = condition("ModelsLoaded")
  if models ~= nil and models.status ~= "True" then
    return answer("Progressing", models)
  end
  return answer("Progressing", progressing)
end

local models = condition("ModelsLoaded")
if models ~= nil and models.status == "False" then
  return answer("Degraded", models)
end
if ready.status == "Unknown" then
  return answer("Progressing", ready)
end
return answer("Degraded", ready)
