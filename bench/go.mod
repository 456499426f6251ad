// Benchmarks that need more than one package, or programs beside ours. A
// module of its own, so that what they compare with stays out of Sekisho's.
module sekisho/bench

go 1.26.0

require (
	github.com/creack/pty v1.1.24
	sekisho v0.0.0
)

require (
	github.com/aws/aws-sdk-go-v2 v1.47.7 // indirect
	github.com/aws/smithy-go v1.28.8 // indirect
)

replace sekisho => ../
