"""Values of the chart: what an installation may choose, from nothing to everything."""

from __future__ import annotations

from typing import Any

EVERYTHING: dict[str, Any] = {
    "servingNames": ["ca.example.org"],
    "admissionRules": "rules: []\n",
    "policies": {"a.yaml": "# none\n"},
    "rootConfigMap": {"namespaces": ["shop", "pay"]},
    "clusterTrustBundle": {"enabled": True},
    "istiodCertificate": {"enabled": True},
    "doctor": {"enabled": True, "revision": "canary", "ztunnelNamespace": "kube-system"},
    "trustedNodeAccounts": ["istio-system/ztunnel"],
    "remoteClusters": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "podMonitor": {"enabled": True},
    "alerts": {"enabled": True},
    "image": {"digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "system-cluster-critical",
    "tolerations": [{"operator": "Exists"}],
    "nodeSelector": {"a": "b"},
    "podLabels": {"c": "d"},
    "podAnnotations": {"e": "f"},
}
ONE_STORE: dict[str, Any] = {"replicas": 1, "persistence": {"existingClaim": "data"}}
VAULT: dict[str, Any] = {"address": "https://vault.example.org:8200", "roots": {"configMap": "mesh-roots"}}
OWN_SECRETS: dict[str, Any] = {"kind": "vault", "vault": {**VAULT, "custody": "secret"}}
TOKEN: dict[str, Any] = {"module": "/opt/hsm/pkcs11.so", "token": "meshca", "pin_file": "/run/meshca-private/pin"}
IN_TOKEN: dict[str, Any] = {
    "upstream": {"kind": "vault", "vault": {**VAULT, "custody": "pkcs11", "config": {"custody_token": TOKEN}}},
    "privateFiles": {"secret": {"secretName": "hsm-pin"}},
    "extraVolumes": [{"name": "hsm", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "hsm", "mountPath": "/opt/hsm"}],
    "extraEnv": [{"name": "HSM_CONF", "value": "/opt/hsm/conf"}],
}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "files": {"upstream": {"kind": "files"}, **ONE_STORE},
    "read": {"upstream": {"create": False}},
    "begin": {"upstream": {"create": True, "names": ["ca"]}},
    "rotate": {"upstream": {"create": False, "rotate": True}, **ONE_STORE},
    "vault": {"upstream": {"kind": "vault", "vault": {**VAULT, "ca": {"configMap": "vault-ca"}}}},
    "vault-secrets": {"replicas": 3, "upstream": OWN_SECRETS},
    "vault-token": IN_TOKEN,
    "nothing": {"rootConfigMap": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
}
