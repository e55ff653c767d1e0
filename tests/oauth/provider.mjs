// An OpenID Connect provider of another make: node provider.mjs '{"redirect_uri":…,"backchannel":…}' prints its port.
import { createServer } from 'node:http';
import { generateKeyPair, exportJWK } from 'jose';
import { Provider } from 'oidc-provider';

const world = JSON.parse(process.argv[2]);
const { privateKey } = await generateKeyPair('ES256', { extractable: true });
const key = { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'p-1' };

const http = createServer();
http.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${http.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'gateway', client_secret: 'a secret of the gateway and its provider', redirect_uris: [world.redirect_uri],
      grant_types: ['authorization_code'], response_types: ['code'], id_token_signed_response_alg: 'ES256',
      backchannel_logout_uri: world.backchannel, backchannel_logout_session_required: true,
    }],
    jwks: { keys: [key] },
    cookies: { keys: ['one that is only for this test'] },
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email'] },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, name: `The ${id}`, email: `${id}@example.com`, groups: ['operator'] }) }),
    features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }), // its own refuses this machine
    pkce: { required: () => true },
  });
  provider.on('backchannel.success', () => console.log('told'));
  provider.on('backchannel.error', (ctx, error) => console.log(`not told: ${error.message} ${error.cause}`));
  http.on('request', provider.callback());
  console.log(http.address().port);
});
