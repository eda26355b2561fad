package sqlite

import (
	"path/filepath"
	"testing"

	"zeropass.dev/zeropass/internal/store/storetest"
)

// A copy of the store has every column of every table.
func TestCopiesHaveAllColumns(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	storetest.CheckColumns(t, s.db.read,
		`SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'`)
}
