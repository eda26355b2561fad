// Package gen holds the code generated from proto/. Run go generate ./gen
// after changing a schema.
package gen

//go:generate sh -c "cd ../proto && go tool -modfile=../tools/go.mod buf generate"
