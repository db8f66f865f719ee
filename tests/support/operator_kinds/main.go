// Prints the Prometheus operator's custom resource definitions, which it carries.
package main

import (
	"log"
	"os"

	crd "github.com/prometheus-operator/prometheus-operator/example"
)

func main() {
	if err := crd.PrintAll(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
