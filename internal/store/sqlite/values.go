package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// leastMemory and mostMemory are how many bytes a statement keeps for its arguments.
	leastMemory = 256
	mostMemory  = 64 << 10
)

// value is an argument.
type value struct {
	kind   int32 // SQLite's
	number int64
	bytes  []byte
	text   string
}

func (v *value) size() int { return len(v.bytes) + len(v.text) }

// valueOf turns an argument into a value. A nil slice is NULL.
func valueOf(argument any) (value, error) {
	switch a := argument.(type) {
	case []byte:
		return bytesValue(a), nil
	case int64:
		return value{kind: sqlite3.SQLITE_INTEGER, number: a}, nil
	case uint64:
		return unsignedValue(a)
	case string:
		return value{kind: sqlite3.SQLITE_TEXT, text: a}, nil
	case int:
		return value{kind: sqlite3.SQLITE_INTEGER, number: int64(a)}, nil
	case bool:
		return boolValue(a), nil
	case nil:
		return value{kind: sqlite3.SQLITE_NULL}, nil
	}
	switch v := reflect.ValueOf(argument); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value{kind: sqlite3.SQLITE_INTEGER, number: v.Int()}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return unsignedValue(v.Uint())
	case reflect.Bool:
		return boolValue(v.Bool()), nil
	case reflect.String:
		return value{kind: sqlite3.SQLITE_TEXT, text: v.String()}, nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return bytesValue(v.Bytes()), nil
		}
	}
	return value{}, fmt.Errorf("sqlite: an argument of type %T", argument)
}

func bytesValue(b []byte) value {
	if b == nil {
		return value{kind: sqlite3.SQLITE_NULL}
	}
	return value{kind: sqlite3.SQLITE_BLOB, bytes: b}
}

func unsignedValue(n uint64) (value, error) {
	if n > math.MaxInt64 {
		return value{}, fmt.Errorf("sqlite: %d does not fit into a column", n)
	}
	return value{kind: sqlite3.SQLITE_INTEGER, number: int64(n)}, nil
}

func boolValue(b bool) value {
	if b {
		return value{kind: sqlite3.SQLITE_INTEGER, number: 1}
	}
	return value{kind: sqlite3.SQLITE_INTEGER}
}

// bind gives the statement its arguments, all of them. They are copied to where they
// stay until it is bound again.
func (s *statement) bind(args []any) error {
	if len(args) != s.arguments {
		return fmt.Errorf("sqlite: %d arguments for a statement that takes %d", len(args), s.arguments)
	}
	c := s.conn
	c.values = c.values[:0]
	size := 1 // so that what is empty has an address: none is NULL
	for _, argument := range args {
		v, err := valueOf(argument)
		if err != nil {
			return err
		}
		size += v.size()
		c.values = append(c.values, v)
	}
	defer clear(c.values)
	if size > math.MaxInt32 {
		return fmt.Errorf("sqlite: %d bytes of arguments", size)
	}
	if err := s.reserve(size); err != nil {
		return err
	}
	at := 0
	for i, n := range s.parameters { // each argument at most once
		v := &c.values[n]
		if err := s.bindOne(int32(i+1), v, s.memory+uintptr(at)); err != nil {
			return err
		}
		at += v.size()
	}
	return nil
}

// reserve wants so many bytes for arguments.
func (s *statement) reserve(size int) error {
	if size <= s.size {
		return nil
	}
	size = max(size, leastMemory)
	memory := libc.Xmalloc(s.conn.tls, types.Size_t(size))
	if memory == 0 {
		return errMemory
	}
	s.release()
	s.memory, s.size = memory, size
	return nil
}

func (s *statement) bindOne(parameter int32, v *value, memory uintptr) error {
	tls, code := s.conn.tls, int32(0)
	switch v.kind {
	case sqlite3.SQLITE_INTEGER:
		code = sqlite3.Xsqlite3_bind_int64(tls, s.handle, parameter, v.number)
	case sqlite3.SQLITE_BLOB:
		copy(libc.GoBytes(memory, len(v.bytes)), v.bytes)
		code = sqlite3.Xsqlite3_bind_blob(tls, s.handle, parameter, memory, int32(len(v.bytes)), sqlite3.SQLITE_STATIC)
	case sqlite3.SQLITE_TEXT:
		copy(libc.GoBytes(memory, len(v.text)), v.text)
		code = sqlite3.Xsqlite3_bind_text(tls, s.handle, parameter, memory, int32(len(v.text)), sqlite3.SQLITE_STATIC)
	default:
		code = sqlite3.Xsqlite3_bind_null(tls, s.handle, parameter)
	}
	if code != sqlite3.SQLITE_OK {
		return s.conn.fail(code)
	}
	return nil
}

// scan copies the columns of a row into places. A place that its column does not fit
// into is an error; empty bytes and NULL are a nil slice.
func (s *statement) scan(places []any) error {
	if n := int(sqlite3.Xsqlite3_column_count(s.conn.tls, s.handle)); n != len(places) {
		return fmt.Errorf("sqlite: %d places for %d columns", len(places), n)
	}
	for i, place := range places {
		if err := s.scanColumn(int32(i), place); err != nil {
			return fmt.Errorf("sqlite: column %d into a %T: %w", i, place, err)
		}
	}
	return nil
}

var (
	errKind = errors.New("it is of another type")
	errFit  = errors.New("it does not fit")
)

func (s *statement) scanColumn(i int32, place any) error {
	tls := s.conn.tls
	kind := sqlite3.Xsqlite3_column_type(tls, s.handle, i)
	switch place := place.(type) {
	case *[]byte:
		switch kind {
		case sqlite3.SQLITE_BLOB, sqlite3.SQLITE_TEXT:
			*place = append([]byte(nil), s.view(i)...)
		case sqlite3.SQLITE_NULL:
			*place = nil
		default:
			return errKind
		}
		return nil
	case *string:
		if kind != sqlite3.SQLITE_TEXT && kind != sqlite3.SQLITE_BLOB {
			return errKind
		}
		*place = string(s.view(i))
		return nil
	case sql.Scanner:
		return s.scanInto(i, kind, place)
	}
	to := reflect.ValueOf(place)
	if to.Kind() != reflect.Pointer || to.IsNil() {
		return errKind
	}
	to = to.Elem()
	if to.Kind() == reflect.String && kind == sqlite3.SQLITE_TEXT {
		to.SetString(string(s.view(i)))
		return nil
	}
	if kind != sqlite3.SQLITE_INTEGER {
		return errKind
	}
	return setNumber(to, sqlite3.Xsqlite3_column_int64(tls, s.handle, i))
}

// setNumber sets a number or a bool.
func setNumber(to reflect.Value, n int64) error {
	switch to.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if to.OverflowInt(n) {
			return errFit
		}
		to.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n < 0 || to.OverflowUint(uint64(n)) {
			return errFit
		}
		to.SetUint(uint64(n))
	case reflect.Bool:
		if n != 0 && n != 1 {
			return errFit
		}
		to.SetBool(n == 1)
	default:
		return errKind
	}
	return nil
}

// scanInto hands a column to a place that knows what it takes.
func (s *statement) scanInto(i, kind int32, place sql.Scanner) error {
	switch kind {
	case sqlite3.SQLITE_INTEGER:
		return place.Scan(sqlite3.Xsqlite3_column_int64(s.conn.tls, s.handle, i))
	case sqlite3.SQLITE_TEXT:
		return place.Scan(string(s.view(i)))
	case sqlite3.SQLITE_BLOB:
		return place.Scan(append([]byte{}, s.view(i)...))
	case sqlite3.SQLITE_NULL:
		return place.Scan(nil)
	}
	return errKind
}

// view is a column's bytes, where SQLite has them until the next step.
func (s *statement) view(i int32) []byte {
	p := sqlite3.Xsqlite3_column_blob(s.conn.tls, s.handle, i)
	if p == 0 {
		return nil
	}
	return libc.GoBytes(p, int(sqlite3.Xsqlite3_column_bytes(s.conn.tls, s.handle, i)))
}
