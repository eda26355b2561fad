package sqlite

import (
	"path/filepath"
	"testing"

	"zeropass.dev/zeropass/internal/store/storetest"
)

// A copy of the store has every column of every table.
func TestCopiesHaveAllColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	defer func() { _ = s.Close() }()
	storetest.CheckColumns(t, beside(t, path),
		`SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'`)
}
