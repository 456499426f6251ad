// Package storetest holds the conformance suites of the engines' stores: one
// function for each store interface, run over every implementation.
package storetest
