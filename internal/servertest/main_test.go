package servertest_test

import (
	"os"
	"testing"

	"sekisho/internal/store/storetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
