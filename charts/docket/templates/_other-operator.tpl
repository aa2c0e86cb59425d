{{/* Why this release must not be installed beside another one: nothing, or a sentence. Two operators that serve one namespace rewrite
each other's objects, since a Lease elects among those of one release alone.

Whoever installs for some namespaces may not list what is cluster-wide, and a lookup that is refused fails: so only what the release
writes itself is looked at with scope Namespaced, cluster-wide objects only where it has some of its own. */}}
{{- define "docket.otherOperator" -}}
{{- $cluster := eq .Values.scope "Cluster" }}
{{- $bindings := list }}
{{- if or $cluster .Values.rbac.tokenReview.enabled }}
{{- $bindings = dig "items" list (lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "") }}
{{- end }}
{{- if $cluster }}
{{- $bindings = concat $bindings (dig "items" list (lookup "rbac.authorization.k8s.io/v1" "RoleBinding" "" "")) }}
{{- else }}
{{- range include "docket.watchNamespaces" . | fromJsonArray }}
{{- $bindings = append $bindings (lookup "rbac.authorization.k8s.io/v1" "RoleBinding" . "docket-operator") }}
{{- end }}
{{- end }}
{{- range $binding := $bindings }}
{{- $role := dig "roleRef" "name" "" $binding }}
{{- $everywhere := eq (dig "kind" "" $binding) "ClusterRoleBinding" }}
{{- $serves := $everywhere | ternary (hasPrefix "docket-operator-" $role) (eq $role "docket-operator") }}
{{- range dig "subjects" list $binding }}
{{- if and $serves (eq .name "docket-operator") (ne (default "" .namespace) $.Release.Namespace) }}
{{- $served := $everywhere | ternary "every namespace" (printf "the namespace %s" (dig "metadata" "namespace" "" $binding)) }}
scope: an operator in the namespace {{ .namespace }} serves {{ $served }} ({{ dig "kind" "" $binding }} {{ $binding.metadata.name }}), and two must not serve the same one; uninstall one of them, or give each its own by scope: Namespaced and watchNamespaces{{ "\n" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
