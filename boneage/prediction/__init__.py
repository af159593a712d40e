"""From radiographs to bone ages: committee, enhancement and networks in one call."""
