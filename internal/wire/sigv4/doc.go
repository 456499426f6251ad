// Package sigv4 verifies AWS Signature Version 4 as a server must: the
// Authorization header, the presigned query, and the RSA variant with which
// a managed node asks for its role credentials. [Sign] and [SignRSA] are the
// other side, for our own agent and command.
//
// # Use
//
// [Parse] reads the signature that a request carries and refuses malformed ones.
// The caller looks up the secret (or the node's public key) of the access key and
// calls [Parsed.Verify] (or [VerifyRSA]); until then nothing in the request is
// authenticated. Verification covers method, path, query, host, the signed headers
// and the body's hash. Every x-amz-* header must be signed, because handlers trust
// them.
//
// # Differences between signers
//
// Signers differ in three details. The verifier tries each form that stands for the
// same request: paths with empty or dot segments
// are signed as sent (SDKs in Go) or cleaned (botocore); S3 paths are signed
// as sent or encoded again from their meaning; a default port may be in the
// Host header and not in the signed host, or the other way round.
//
// Reference: "AWS Signature Version 4 for API requests", IAM User Guide.
package sigv4
