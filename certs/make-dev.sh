#!/bin/sh
# Makes a development CA and a certificate for the webhook, and says how they get into the cluster.
#
#   certs/make-dev.sh [FOLDER]      FOLDER is certs/dev unless named
#
# For development only: the CA's key is thrown away, so that renewing means running this again. What a cluster
# that matters should do is in certs/README.md.
set -eu
umask 077

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$here/dev}
days=${DAYS:-90}
service=lanekeeper.lanekeeper-system

command -v openssl >/dev/null || { echo "$0: openssl is needed" >&2; exit 1; }
mkdir -p "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/ca.cnf" <<CNF
[req]
distinguished_name = name
x509_extensions = ca
prompt = no
[name]
CN = Lanekeeper development CA
[ca]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CNF
cat >"$scratch/leaf.cnf" <<CNF
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$service.svc, DNS:$service.svc.cluster.local, DNS:localhost, IP:127.0.0.1, IP:::1
CNF

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

new_key "$scratch/ca.key"
openssl req -new -x509 -sha256 -days "$days" -config "$scratch/ca.cnf" -key "$scratch/ca.key" -out "$scratch/ca.crt"
new_key "$scratch/tls.key"
openssl req -new -sha256 -key "$scratch/tls.key" -subj "/CN=$service.svc" -out "$scratch/leaf.csr"
openssl x509 -req -sha256 -days "$days" -in "$scratch/leaf.csr" -extfile "$scratch/leaf.cnf" \
    -CA "$scratch/ca.crt" -CAkey "$scratch/ca.key" -CAcreateserial -out "$scratch/tls.crt" 2>/dev/null
for file in ca.crt tls.crt tls.key; do mv "$scratch/$file" "$folder/$file"; done

cat <<TEXT
Made $folder/ca.crt, tls.crt and tls.key, valid for $days days. To use them:

  kubectl --namespace lanekeeper-system create secret tls lanekeeper-tls \\
    --cert "$folder/tls.crt" --key "$folder/tls.key" --dry-run=client --output yaml | kubectl apply -f -
  "$here/set-ca-bundle.sh" "$folder/ca.crt"
TEXT
