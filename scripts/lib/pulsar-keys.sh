# shellcheck shell=bash
# Who is who at a private Pulsar: the key that signs tokens, a token for each role, a CA with the broker's certificate.
# They outlive `--fresh`: who holds one of them goes on being let in.

pulsar_roles=(bridge-admin broker bridge-publisher bridge-consumer)

pulsar_keys() { echo "$1/pulsar-keys"; }
pulsar_token_file() { echo "$1/pulsar-keys/$2.token"; }

pulsar_make_keys() {
  local state=$1 dir role
  dir=$(pulsar_keys "$state")
  [ -f "$dir/.complete" ] && return 0
  has openssl || die "openssl is not installed: it makes the broker's keys" "Run ./scripts/up, or: apt-get install openssl"
  perl_signs || die "perl with Digest::SHA is not installed: it signs the broker's tokens" "Run ./scripts/up, or: apt-get install perl"
  rm -rf -- "$dir"
  (
    umask 077
    mkdir -p "$dir"
    openssl rand -out "$dir/secret.key" 32
    for role in "${pulsar_roles[@]}"; do pulsar_token "$dir/secret.key" "$role" >"$dir/$role.token" || exit 1; done
    pulsar_make_certificate "$dir" >"$dir/openssl.log" 2>&1
  ) || {
    show_log "$dir/openssl.log"
    die "openssl or perl could not make the broker's keys in $dir" "It takes openssl 3: openssl version"
  }
  touch "$dir/.complete"
}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# pulsar_token KEY_FILE ROLE [SECONDS]: an HS256 JWT as Pulsar's token provider takes it; without SECONDS it never expires
pulsar_token() {
  local expires='' text signature
  [ -z "${3:-}" ] || printf -v expires ',"exp":%d' "$((EPOCHSECONDS + $3))"
  text=$(printf '{"alg":"HS256"}' | base64url).$(printf '{"sub":"%s"%s}' "$2" "$expires" | base64url)
  signature=$(printf '%s' "$text" | hmac_sha256 "$1" | base64url)
  printf '%s.%s' "$text" "$signature"
}

# hmac_sha256 KEY_FILE: of standard input. openssl would take the key on its command line, which is everybody's to read.
hmac_sha256() {
  perl -MDigest::SHA -0777 -e '
    open my $file, "<:raw", $ARGV[0] or die "$ARGV[0]: $!\n";
    my $key = <$file>;
    binmode STDIN; binmode STDOUT;
    print Digest::SHA::hmac_sha256(scalar <STDIN>, $key);' "$1"
}

perl_signs() { perl -MDigest::SHA -e 1 2>/dev/null; }

pulsar_make_certificate() {
  local dir=$1 key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${key[@]}" -keyout "$dir/ca.key" -out "$dir/ca.pem" -days 3650 -subj '/CN=CA of a private Pulsar' \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  openssl req "${key[@]}" -keyout "$dir/server.key" -out "$dir/server.csr" -subj /CN=localhost
  cat >"$dir/server.ext" <<'EXT'
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1
EXT
  openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -days 3650 -extfile "$dir/server.ext" -out "$dir/server.pem"
}

# The part of the broker's configuration that says who may do what.
pulsar_auth_conf() {
  local state=$1 dir providers=org.apache.pulsar.broker.authentication.AuthenticationProviderToken
  dir=$(pulsar_keys "$state")
  if [ -f "$state/pulsar.oidc" ]; then
    providers+=,org.apache.pulsar.broker.authentication.oidc.AuthenticationProviderOpenID
    cat "$state/pulsar.oidc"
  fi
  cat <<CONF
authenticationEnabled=true
authenticationProviders=$providers
tokenSecretKey=file://$dir/secret.key
authorizationEnabled=true
superUserRoles=bridge-admin,broker
brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken
brokerClientAuthenticationParameters=file://$dir/broker.token
# How long a connection outlives its token.
authenticationRefreshCheckSeconds=2
tlsCertificateFilePath=$dir/server.pem
tlsKeyFilePath=$dir/server.key
tlsTrustCertsFilePath=$dir/ca.pem
CONF
}

# Tokens of an OpenID issuer are taken too, with the role in `sub`. Remembered for later starts.
pulsar_take_issuer() {
  local state=$1 issuer=$2 audience=$3
  [ -n "$issuer" ] || return 0
  [ -n "$audience" ] || die "--oidc needs --audience" "For example: --oidc http://127.0.0.1:8081 --audience urn:pulsar"
  cat >"$state/pulsar.oidc" <<CONF
openIDAllowedTokenIssuers=$issuer
openIDAllowedAudiences=$audience
openIDRequireIssuersUseHttps=false
CONF
}
