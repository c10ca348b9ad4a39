# shellcheck shell=bash
# A private CA and what it signs, by openssl. Sourced, not run.

# Names of the master and the relays, from anywhere in the cluster.
server_names() {
  local name names=''
  for name in redis-master redis-relay; do
    names+=",DNS:$name,DNS:$name.$NAMESPACE,DNS:$name.$NAMESPACE.svc"
    names+=",DNS:$name.$NAMESPACE.svc.cluster.local"
  done
  printf %s "${names#,}"
}

# quietly COMMAND...: its output only when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || die "$1 $2 failed: $output"
}

# make_ca FOLDER: ca.crt and ca.key, unless they are there.
make_ca() {
  local folder=$1
  mkdir -p "$folder"
  chmod 700 "$folder"
  if [ -e "$folder/ca.crt" ]; then return; fi
  # Another name than any leaf's: else a leaf would look self-signed. The day is of use to people.
  (umask 077 && quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -days 3650 -subj "/CN=redis-api private CA $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$folder/ca.key" -out "$folder/ca.crt")
}

# make_leaf FOLDER NAME ALTERNATIVE_NAMES: NAME.crt and NAME.key, unless they are there.
make_leaf() {
  local folder=$1 name=$2 names=$3
  if [ -e "$folder/$name.crt" ]; then return; fi
  (
    umask 077
    printf '%s\n' "subjectAltName=$names" "basicConstraints=critical,CA:FALSE" \
      "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth,clientAuth" \
      "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" >"$folder/$name.ext"
    quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=redis-api $name" \
      -keyout "$folder/$name.key" -out "$folder/$name.csr"
    quietly openssl x509 -req -days 365 -in "$folder/$name.csr" -CA "$folder/ca.crt" \
      -CAkey "$folder/ca.key" -CAcreateserial -extfile "$folder/$name.ext" -out "$folder/$name.crt"
    rm -f "$folder/$name.csr" "$folder/$name.ext"
  )
}
