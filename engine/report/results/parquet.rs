//! The table as Parquet, and read back from it. Where it comes from stands in the file's metadata, under [`KEY`].

use std::{fs::File, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, new_empty_array},
    record_batch::RecordBatch,
};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    errors::{ParquetError, Result},
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{Column, Provenance, Results, Values};

/// Under which the provenance stands.
const KEY: &str = "talkflow.sweep";

impl Results {
    /// As the bytes of a Parquet file.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn parquet(&self) -> Result<Vec<u8>> {
        parquet_of(&self.columns, self.provenance_text())
    }

    /// From such a file.
    ///
    /// # Errors
    /// Where it is none, or has no provenance.
    pub fn from_parquet(file: File) -> Result<Self> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let metadata = reader.metadata().file_metadata().key_value_metadata();
        let text = metadata.into_iter().flatten().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_ref());
        let text = text.ok_or_else(|| ParquetError::General(format!("it says nothing under `{KEY}`")))?;
        let provenance: Provenance = serde_json::from_str(text).map_err(|error| ParquetError::External(Box::new(error)))?;
        let mut columns: Vec<Column> = Vec::new();
        for field in reader.schema().fields() {
            let values = values(&new_empty_array(field.data_type()))
                .ok_or_else(|| ParquetError::General(format!("column `{}` has an unknown type", field.name())))?;
            columns.push(Column { name: field.name().clone(), values });
        }
        for batch in reader.build()? {
            let batch = batch?;
            for (column, more) in columns.iter_mut().zip(batch.columns()) {
                values(more).into_iter().for_each(|more| column.values.append(more));
            }
        }
        Ok(Self { provenance, columns })
    }
}

/// Columns of one length as the bytes of a Parquet file that says in its metadata where they come from.
///
/// # Errors
/// Where the library refuses.
pub fn parquet_of(columns: &[Column], provenance: String) -> Result<Vec<u8>> {
    let column = |column: &Column| -> ArrayRef {
        match &column.values {
            Values::Int(values) => Arc::new(Int64Array::from(values.clone())),
            Values::Float(values) => Arc::new(Float64Array::from(values.clone())),
            Values::Bool(values) => Arc::new(BooleanArray::from(values.clone())),
            Values::Text(values) => Arc::new(values.iter().map(Option::as_deref).collect::<StringArray>()),
        }
    };
    let columns = columns.iter().map(|own| (own.name.as_str(), column(own), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let provenance = KeyValue::new(KEY.to_owned(), provenance);
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![provenance])).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

fn values(array: &ArrayRef) -> Option<Values> {
    let any = array.as_any();
    if let Some(array) = any.downcast_ref::<Int64Array>() {
        return Some(Values::Int(array.iter().collect()));
    }
    if let Some(array) = any.downcast_ref::<Float64Array>() {
        return Some(Values::Float(array.iter().collect()));
    }
    if let Some(array) = any.downcast_ref::<BooleanArray>() {
        return Some(Values::Bool(array.iter().collect()));
    }
    let array = any.downcast_ref::<StringArray>()?;
    Some(Values::Text(array.iter().map(|text| text.map(Arc::from)).collect()))
}

impl Values {
    fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::Int(own), Self::Int(more)) => own.extend(more),
            (Self::Float(own), Self::Float(more)) => own.extend(more),
            (Self::Bool(own), Self::Bool(more)) => own.extend(more),
            (Self::Text(own), Self::Text(more)) => own.extend(more),
            // Batches of one file have one schema.
            _ => {}
        }
    }
}
