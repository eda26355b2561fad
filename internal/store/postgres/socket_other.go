//go:build !linux

package postgres

import "github.com/jackc/pgx/v5/pgconn"

// dialer opens sockets like dial.
func dialer(dial pgconn.DialFunc) pgconn.DialFunc { return dial }
