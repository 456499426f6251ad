// Package awsproto reads and writes the wire shapes of AWS's protocols: JSON
// 1.1 (ssm, kms, logs, cloudtrail, cur), query (iam, sts), EC2's flavour of query,
// and XML over REST (ssmmessages, s3). It is independent of services: a door has
// its own request and response structs.
//
// The decoders bound depth, size and indices, refuse duplicates and wrong
// types with an [*Error], and ignore members they do not know, as AWS does.
// Names are matched exactly, also in their case.
//
// The writers encode before they write: when one returns an error, nothing
// has been sent.
package awsproto
