// Package sigv4 verifies AWS Signature Version 4 as a server must: the Authorization
// header, the presigned query, and the RSA variant with which a managed node requests its
// role credentials. [Sign] and [SignRSA] sign requests for Sekisho's agent and command.
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
// Signers differ in three details. The verifier tries each equivalent form of a request:
// paths with empty or dot segments are signed as sent (SDKs in Go) or cleaned (botocore);
// S3 paths are signed as sent or decoded and re-encoded; a default port can be in the Host
// header but not in the signed host, or vice versa.
//
// Reference: "AWS Signature Version 4 for API requests", IAM User Guide.
package sigv4
