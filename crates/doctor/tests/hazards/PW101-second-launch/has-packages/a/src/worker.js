const sdk = require('@dbos-inc/dbos-sdk');
let launching;
exports.start = () => (launching ??= once(sdk.DBOS.launch)); // ← here
const once = (work) => work();
