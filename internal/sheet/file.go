package sheet

import (
	"io"

	"zeropass.dev/zeropass/interchange"
)

// Write writes a page into a new file that its owner alone may read. The file is
// there whole or not at all, and nothing is written anywhere else. Its errors are
// those of [interchange.WriteFile].
func Write(path string, content []byte) error {
	return interchange.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}
