package interchange

import "testing"

// While it is written there is no name that a killed process would leave behind.
func TestUnfinishedFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	f, err := createUnnamed(dir)
	if err != nil {
		t.Fatalf("this system cannot write a file without a name: %v", err)
	}
	defer f.Close()
	if err := writes("secret")(f); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir)
}
