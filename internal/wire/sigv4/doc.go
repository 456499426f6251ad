// Package sigv4 verifies AWS Signature Version 4 as a server must: the
// Authorization header, the presigned query, and the RSA variant with which
// a managed node asks for its role credentials. [Sign] and [SignRSA] are the
// other side, for our own agent and command.
//
// # Use
//
// [Parse] reads who claims to have signed a request, and refuses what it does
// not understand. The caller looks up the secret (or the node's public key) of
// that access key and calls [Parsed.Verify] (or [VerifyRSA]). Only then is the
// claim a fact. Verification covers method, path, query, host, the signed
// headers and the body's hash; every x-amz-* header must be among the signed
// ones, for handlers believe them.
//
// # What differs between signers
//
// Signers agree on the rules but for three corners, where the verifier tries
// each reading that means the same request: paths with empty or dot segments
// are signed as sent (SDKs in Go) or cleaned (botocore); S3 paths are signed
// as sent or encoded again from their meaning; a default port may be in the
// Host header and not in the signed host, or the other way round.
//
// Reference: "AWS Signature Version 4 for API requests", IAM User Guide.
package sigv4
