package config

import "testing"

func TestWitnesses(t *testing.T) {
	t.Parallel()
	bucket := S3Store{Bucket: "heads", Region: "eu-central-1"}
	for name, tt := range map[string]struct {
		w    Witness
		good bool
	}{
		"bucket":             {Witness{S3: &WitnessBucket{S3Store: bucket, RetainDays: 400}}, true},
		"two destinations":   {Witness{File: "/heads", S3: &WitnessBucket{S3Store: bucket}}, false},
		"negative retention": {Witness{S3: &WitnessBucket{S3Store: bucket, RetainDays: -1}}, false},
		"no bucket":          {Witness{S3: &WitnessBucket{S3Store: S3Store{Region: "eu-central-1"}}}, false},
		"no destination":     {Witness{}, false},
	} {
		if err := tt.w.form(); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
