package s3

// Routes lists every operation: level, then method and subresources.
func Routes() map[string]string {
	all := map[string]string{}
	for level, ops := range map[string]map[string]operation{"service": serviceOps, "bucket": bucketOps,
		"object": objectOps} {
		for route, op := range ops {
			all[level+" "+route] = op.name
		}
	}
	return all
}

// ModelRoutes lists the operations that the service model distinguishes by
// query parameters.
func ModelRoutes() map[string]string { return modelRoutes }
