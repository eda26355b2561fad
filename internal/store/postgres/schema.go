package postgres

import "zeropass.dev/zeropass/internal/store/sqlstore"

// Schema returns the version of the schema that this program brings data to.
func Schema() int64 { return sqlstore.Schema(migrations) }
