// An OAuth 2 issuer for tests: client credentials, JWT access tokens, resource indicators.
// Usage: node server.mjs CONFIG.json, which holds {port, audience, clients: [{id, secret, scope, tenant?, ttl?, subject?}]}:
// a client's tokens live for its ttl, and name its subject instead of its id.
// What a test may ask for beside the standard's parameters, in the body of a token request:
//   ttl=SECONDS       how long the token lives (300)
//   alg=ES256         what signs it: RS256, ES256 or EdDSA (RS256)
//   audience=TEXT     the same as `resource`, for clients of the broker, which send this one
// POST /rotate: new keys sign from now on, the old ones stay in the JWKS; POST /rotate?drop=1: they leave it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Provider, errors } from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const issuer = `http://127.0.0.1:${config.port}`;
const tenants = new Map(config.clients.map((client) => [client.id, client.tenant]));
const clients = new Map(config.clients.map((client) => [client.id, client]));
const scopes = [...new Set(config.clients.flatMap((client) => client.scope.split(' ')))];

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

function key(alg) {
  const jwk = generateKeyPairSync(...kinds[alg]).privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: `${alg.toLowerCase()}-${randomUUID().slice(0, 8)}` };
}

const signingKeys = () => Object.keys(kinds).map(key);

// The first key of an algorithm signs.
function provider(keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: config.clients.map((client) => ({
      client_id: client.id,
      client_secret: client.secret,
      scope: client.scope,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    })),
    scopes,
    extraTokenClaims: (_ctx, token) => {
      const tenant = tenants.get(token.clientId);
      return tenant === undefined ? {} : { tenant_id: tenant };
    },
    formats: {
      customizers: {
        // Pulsar's OpenID provider refuses a token without it.
        jwt: (_ctx, token, parts) => {
          parts.payload.nbf ??= parts.payload.iat;
          parts.payload.sub = clients.get(token.clientId)?.subject ?? parts.payload.sub;
        },
      },
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => ctx.oidc.body?.audience ?? config.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => {
          const own = String(clients.get(ctx.oidc.client?.clientId)?.ttl ?? 300);
          const { ttl = own, alg = 'RS256' } = ctx.oidc.body ?? {};
          if (!(alg in kinds) || !/^\d+$/.test(ttl)) throw new errors.InvalidRequest('alg or ttl');
          return {
            scope: scopes.join(' '),
            audience: resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: Number(ttl),
            jwt: { sign: { alg } },
          };
        },
      },
    },
  });
}

let keys = signingKeys();
let answer = provider(keys).callback();

const server = createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method === 'POST' && url.pathname === '/rotate') {
    keys = [...signingKeys(), ...(url.searchParams.has('drop') ? [] : keys)];
    answer = provider(keys).callback();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ signing: keys.slice(0, Object.keys(kinds).length).map(({ kid }) => kid) }));
    return;
  }
  answer(request, response);
});
server.listen(config.port, '127.0.0.1', () => console.log(`listening on ${issuer}`));
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
