// Our authorization server, used by openid-client as an application would: node client.mjs '{"issuer":…}' prints what came of it.
import * as client from 'openid-client';
import { generateKeyPair, exportJWK } from 'jose';

const world = JSON.parse(process.argv[2]);
const insecure = { execute: [client.allowInsecureRequests] };

// A browser without scripts: keeps cookies, follows redirects to our own pages, fills in their forms.
class Browser {
  cookies = new Map();

  async load(url, form) {
    const headers = { cookie: [...this.cookies].map(([k, v]) => `${k}=${v}`).join('; ') };
    if (form) Object.assign(headers, { origin: new URL(url).origin, 'sec-fetch-site': 'same-origin' });
    const reply = await fetch(url, { method: form ? 'POST' : 'GET', body: form && new URLSearchParams(form), headers, redirect: 'manual' });
    for (const line of reply.headers.getSetCookie()) {
      const [pair] = line.split(';');
      this.cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1));
    }
    return reply;
  }

  // To where the server sends the browser at last: an address that is not the server's.
  async authorize(url, answers) {
    const seen = [];
    for (let reply = await this.load(url), at = url; ; ) {
      const location = reply.headers.get('location');
      if (location) {
        at = new URL(location, at);
        if (at.origin !== new URL(world.issuer).origin) return { at, seen };
        reply = await this.load(at);
        continue;
      }
      const html = await reply.text();
      const action = html.match(/action="([^"]+)"/)?.[1];
      if (!action) return { page: html, status: reply.status, headers: reply.headers, seen };
      const fields = Object.fromEntries([...html.matchAll(/name="(csrf|request|second_step)" value="([^"]*)"/g)]
        .map(([, name, value]) => [name, value.replaceAll('&amp;', '&').replaceAll('&#39;', "'").replaceAll('&quot;', '"')]));
      seen.push(action);
      at = new URL(action, at);
      reply = await this.load(at, { ...fields, ...answers[action] });
    }
  }
}

async function configuration(id, authentication) {
  return client.discovery(new URL(world.issuer), id, undefined, authentication, insecure);
}

const answers = { '/oauth/login': { email: world.email, password: world.password }, '/oauth/consent': { decision: 'allow' } };

async function codeFlow(config, browser, scope, decisions = answers, more = {}) {
  const verifier = client.randomPKCECodeVerifier(), state = client.randomState(), nonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, { redirect_uri: world.callback, scope, state, nonce, ...more,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' });
  const visit = await browser.authorize(url, decisions);
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: scope.includes('openid') };
  return { ...visit, checks, url };
}

async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return { error: error.error ?? error.cause?.body?.error ?? error.code ?? error.message };
  }
}

const out = {};
const web = await configuration(world.web.client_id, client.ClientSecretBasic(world.web.client_secret));
out.metadata = web.serverMetadata();

const browser = new Browser();
const visit = await codeFlow(web, browser, 'openid profile email offline_access api');
out.seen = visit.seen;
const tokens = await client.authorizationCodeGrant(web, visit.at, visit.checks);
out.claims = tokens.claims();
out.access_token = tokens.access_token;
out.userinfo = await client.fetchUserInfo(web, tokens.access_token, out.claims.sub);
out.introspection = await client.tokenIntrospection(web, tokens.access_token);
const refreshed = await client.refreshTokenGrant(web, tokens.refresh_token);
out.rotated = refreshed.refresh_token !== tokens.refresh_token;
out.again = await outcome(client.authorizationCodeGrant(web, visit.at, visit.checks)); // the code a second time
out.after = await client.tokenIntrospection(web, refreshed.access_token);

const second = await codeFlow(web, browser, 'openid profile offline_access');
out.seen_second = second.seen; // signed in and consented: nothing is asked
const more = await client.authorizationCodeGrant(web, second.at, second.checks);
await client.tokenRevocation(web, more.refresh_token);
out.revoked = await outcome(client.refreshTokenGrant(web, more.refresh_token));
out.denied = (await codeFlow(web, browser, 'openid email', { ...answers, '/oauth/consent': { decision: 'deny' } }, { prompt: 'consent' }))
  .at.searchParams.get('error');

const machine = await configuration(world.machine.client_id, client.ClientSecretBasic(world.machine.client_secret));
out.machine = await client.clientCredentialsGrant(machine, { scope: 'api' });

const open = await configuration(world.open.client_id, client.None());
const native = await codeFlow(open, browser, 'openid', answers, { redirect_uri: 'http://127.0.0.1:45454/cb' });
out.open = (await client.authorizationCodeGrant(open, native.at, native.checks)).claims();

if (world.register) { // a client that proves itself with a key of its own
  const pair = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(pair.publicKey)), alg: 'ES256', kid: 'k-1' };
  const made = await fetch(`${world.issuer}/api/v1/admin/clients`, { method: 'POST',
    headers: { authorization: `Bearer ${world.register}`, 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Key', grant_types: ['client_credentials'], scope: 'api',
      token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } }) });
  const { client_id } = await made.json();
  const keyed = await configuration(client_id, client.PrivateKeyJwt({ key: pair.privateKey, kid: 'k-1' }));
  out.keyed = await outcome(client.clientCredentialsGrant(keyed));
}
console.log(JSON.stringify(out));
