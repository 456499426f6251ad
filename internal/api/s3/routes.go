package s3

import (
	"slices"
	"strings"
)

// modelRoutes are the operations that S3's service model distinguishes by a query parameter: level,
// method and parameters. A request with a parameter of an unsupported operation is refused;
// otherwise the operation that the method alone selects would run.
var modelRoutes = map[string]string{
	"bucket DELETE analytics":             "DeleteBucketAnalyticsConfiguration",
	"bucket DELETE cors":                  "DeleteBucketCors",
	"bucket DELETE encryption":            "DeleteBucketEncryption",
	"bucket DELETE intelligent-tiering":   "DeleteBucketIntelligentTieringConfiguration",
	"bucket DELETE inventory":             "DeleteBucketInventoryConfiguration",
	"bucket DELETE lifecycle":             "DeleteBucketLifecycle",
	"bucket DELETE metadataConfiguration": "DeleteBucketMetadataConfiguration",
	"bucket DELETE metadataTable":         "DeleteBucketMetadataTableConfiguration",
	"bucket DELETE metrics":               "DeleteBucketMetricsConfiguration",
	"bucket DELETE ownershipControls":     "DeleteBucketOwnershipControls",
	"bucket DELETE policy":                "DeleteBucketPolicy",
	"bucket DELETE publicAccessBlock":     "DeletePublicAccessBlock",
	"bucket DELETE replication":           "DeleteBucketReplication",
	"bucket DELETE tagging":               "DeleteBucketTagging",
	"bucket DELETE website":               "DeleteBucketWebsite",
	"bucket GET abac":                     "GetBucketAbac",
	"bucket GET accelerate":               "GetBucketAccelerateConfiguration",
	"bucket GET acl":                      "GetBucketAcl",
	"bucket GET analytics":                "GetBucketAnalyticsConfiguration",
	"bucket GET cors":                     "GetBucketCors",
	"bucket GET encryption":               "GetBucketEncryption",
	"bucket GET intelligent-tiering":      "GetBucketIntelligentTieringConfiguration",
	"bucket GET inventory":                "GetBucketInventoryConfiguration",
	"bucket GET lifecycle":                "GetBucketLifecycleConfiguration",
	"bucket GET list-type":                "ListObjectsV2",
	"bucket GET location":                 "GetBucketLocation",
	"bucket GET logging":                  "GetBucketLogging",
	"bucket GET metadataConfiguration":    "GetBucketMetadataConfiguration",
	"bucket GET metadataTable":            "GetBucketMetadataTableConfiguration",
	"bucket GET metrics":                  "GetBucketMetricsConfiguration",
	"bucket GET notification":             "GetBucketNotificationConfiguration",
	"bucket GET object-lock":              "GetObjectLockConfiguration",
	"bucket GET ownershipControls":        "GetBucketOwnershipControls",
	"bucket GET policy":                   "GetBucketPolicy",
	"bucket GET policyStatus":             "GetBucketPolicyStatus",
	"bucket GET publicAccessBlock":        "GetPublicAccessBlock",
	"bucket GET replication":              "GetBucketReplication",
	"bucket GET requestPayment":           "GetBucketRequestPayment",
	"bucket GET session":                  "CreateSession",
	"bucket GET tagging":                  "GetBucketTagging",
	"bucket GET uploads":                  "ListMultipartUploads",
	"bucket GET versioning":               "GetBucketVersioning",
	"bucket GET versions":                 "ListObjectVersions",
	"bucket GET website":                  "GetBucketWebsite",
	"bucket POST delete":                  "DeleteObjects",
	"bucket POST metadataConfiguration":   "CreateBucketMetadataConfiguration",
	"bucket POST metadataTable":           "CreateBucketMetadataTableConfiguration",
	"bucket PUT abac":                     "PutBucketAbac",
	"bucket PUT accelerate":               "PutBucketAccelerateConfiguration",
	"bucket PUT acl":                      "PutBucketAcl",
	"bucket PUT analytics":                "PutBucketAnalyticsConfiguration",
	"bucket PUT cors":                     "PutBucketCors",
	"bucket PUT encryption":               "PutBucketEncryption",
	"bucket PUT intelligent-tiering":      "PutBucketIntelligentTieringConfiguration",
	"bucket PUT inventory":                "PutBucketInventoryConfiguration",
	"bucket PUT lifecycle":                "PutBucketLifecycleConfiguration",
	"bucket PUT logging":                  "PutBucketLogging",
	"bucket PUT metadataInventoryTable":   "UpdateBucketMetadataInventoryTableConfiguration",
	"bucket PUT metadataJournalTable":     "UpdateBucketMetadataJournalTableConfiguration",
	"bucket PUT metrics":                  "PutBucketMetricsConfiguration",
	"bucket PUT notification":             "PutBucketNotificationConfiguration",
	"bucket PUT object-lock":              "PutObjectLockConfiguration",
	"bucket PUT ownershipControls":        "PutBucketOwnershipControls",
	"bucket PUT policy":                   "PutBucketPolicy",
	"bucket PUT publicAccessBlock":        "PutPublicAccessBlock",
	"bucket PUT replication":              "PutBucketReplication",
	"bucket PUT requestPayment":           "PutBucketRequestPayment",
	"bucket PUT tagging":                  "PutBucketTagging",
	"bucket PUT versioning":               "PutBucketVersioning",
	"bucket PUT website":                  "PutBucketWebsite",
	"object DELETE tagging":               "DeleteObjectTagging",
	"object GET acl":                      "GetObjectAcl",
	"object GET attributes":               "GetObjectAttributes",
	"object GET legal-hold":               "GetObjectLegalHold",
	"object GET retention":                "GetObjectRetention",
	"object GET tagging":                  "GetObjectTagging",
	"object GET torrent":                  "GetObjectTorrent",
	"object POST restore":                 "RestoreObject",
	"object POST select":                  "SelectObjectContent",
	"object POST uploads":                 "CreateMultipartUpload",
	"object PUT acl":                      "PutObjectAcl",
	"object PUT encryption":               "UpdateObjectEncryption",
	"object PUT legal-hold":               "PutObjectLegalHold",
	"object PUT renameObject":             "RenameObject",
	"object PUT retention":                "PutObjectRetention",
	"object PUT tagging":                  "PutObjectTagging",
}

// subresources are the query parameters that select an operation, sorted.
var subresources = func() []string {
	all := []string{"uploadId"} // of operations on parts, which the model distinguishes by more than its URIs
	for route := range modelRoutes {
		all = append(all, strings.Fields(route)[2:]...)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "list-type" })
}()
