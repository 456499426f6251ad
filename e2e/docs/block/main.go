// Command block prints a block of code of a page, for scripts that execute it.
//
//	go run ./e2e/docs/block docs/install.md the_first_server
package main

import (
	"fmt"
	"os"

	"sekisho/e2e/docs"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: block PAGE NAME")
		os.Exit(2)
	}
	page, err := docs.Parse(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "block:", err)
		os.Exit(1)
	}
	for _, b := range page.Blocks {
		if b.Name == os.Args[2] {
			fmt.Print(b.Text)
			return
		}
	}
	fmt.Fprintf(os.Stderr, "block: %s has no block %s\n", os.Args[1], os.Args[2])
	os.Exit(1)
}
