#!/bin/sh
# Tells the API server by which CA it verifies the webhooks of Lanekeeper.
#
#   certs/set-ca-bundle.sh CA_FILE
#
# The file may hold several certificates, as while one CA follows another. Only clientConfig.caBundle is set, by
# server-side apply under a name of its own, so that applying the manifests again leaves it alone.
set -eu

[ $# -eq 1 ] && [ -r "$1" ] || { echo "usage: $0 CA_FILE" >&2; exit 2; }
grep -q -e '-----BEGIN CERTIFICATE-----' "$1" || { echo "$0: $1 holds no PEM certificate" >&2; exit 2; }
bundle=$(base64 <"$1" | tr -d '\n')

for kind in ValidatingWebhookConfiguration MutatingWebhookConfiguration; do
    webhooks=$(kubectl get "$kind" lanekeeper --output 'jsonpath={.webhooks[*].name}')
    {
        printf 'apiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: lanekeeper}\nwebhooks:\n' "$kind"
        for webhook in $webhooks; do
            printf -- '- {name: %s, clientConfig: {caBundle: %s}}\n' "$webhook" "$bundle"
        done
    } | kubectl apply --server-side --field-manager=lanekeeper-ca-bundle --filename -
done
